// The filters of the list of deliveries: controls above it, mirrored in the address. The server filters.

import { byId, h } from "./dom.js";
import * as panel from "./panel.js";

const TYPING = 300; // milliseconds of rest before a search
const SPANS = { "15m": 15 * 60, "1h": 3600, "24h": 86_400, "7d": 7 * 86_400 }; // seconds
const BETWEEN = "between";
const NONE = { status: "", endpoint: "", task: "", last: "", since: "", until: "" }; // since and until in UTC

let wanted = { ...NONE };
let names = []; // of the endpoints
let changed = () => {};

/** Set the function to call when the filters change. */
export function begin(onChange) {
  changed = onChange;
  let typing;
  byId("o-task").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => change({ task: byId("o-task").value.trim() }), TYPING);
  });
  byId("o-status").addEventListener("change", (event) => change({ status: event.target.value }));
  byId("o-endpoint").addEventListener("change", (event) => change({ endpoint: event.target.value }));
  byId("o-time").addEventListener("change", (event) => change({ last: event.target.value, since: "", until: "" }));
  for (const name of ["since", "until"]) {
    byId(`o-${name}`).addEventListener("change", (event) => change({ [name]: utc(event.target.value) }));
  }
  byId("o-filters").addEventListener("submit", (event) => event.preventDefault());
  byId("o-clear").addEventListener("click", clear);
}

/** Return the filters as a query of the API; `sources` are the names with which a task may begin. */
export function query(sources) {
  const { status, endpoint, task } = wanted;
  const named = sources.some((source) => task.startsWith(`${source}/`));
  return { status, endpoint, [named ? "watch" : "task"]: task, ...period() };
}

/** Return the chosen time as the API reads it. */
export function period() {
  const { last, since, until } = wanted;
  if (last in SPANS) return { since: new Date(Date.now() - SPANS[last] * 1000).toISOString(), until: "" };
  return { since, until };
}

export const status = () => wanted.status;
export const endpoint = () => wanted.endpoint;
export const ofTask = () => wanted.task !== "";
export const ofTime = () => wanted.last in SPANS || wanted.since !== "" || wanted.until !== "";

/** Return whether anything is filtered. */
export const active = () => wanted.status !== "" || wanted.endpoint !== "" || ofTask() || ofTime();

/** Apply the filters of an address; return whether they have changed. */
export function take(text) {
  const parameters = new URLSearchParams(text ?? "");
  const before = JSON.stringify(wanted);
  wanted = Object.fromEntries(Object.keys(NONE).map((name) => [name, parameters.get(name) ?? ""]));
  if (wanted.since !== "" || wanted.until !== "") wanted.last = BETWEEN;
  show();
  return JSON.stringify(wanted) !== before;
}

/** Return the address of the list under these filters, or with some of them changed. */
export function address(changes = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...wanted, ...changes })) if (value !== "") parameters.append(name, value);
  return parameters.size === 0 ? "#/deliveries" : `#/deliveries?${parameters}`;
}

/** Clear the filters. */
export function clear() {
  change(NONE);
  byId("o-task").focus();
}

/** Offer these endpoints. */
export function offer(endpoints) {
  names = endpoints;
  showEndpoints(); // alone: what is being typed into the other fields must stay
}

function change(changes) {
  wanted = { ...wanted, ...changes };
  if (!panel.isOpen()) history.replaceState(null, "", address()); // an open panel has its own address
  show();
  changed();
}

function show() {
  const task = byId("o-task");
  if (task.value.trim() !== wanted.task) task.value = wanted.task;
  showEndpoints();
  byId("o-status").value = wanted.status;
  byId("o-time").value = wanted.last;
  byId("o-between").hidden = wanted.last !== BETWEEN;
  for (const name of ["since", "until"]) {
    const field = byId(`o-${name}`);
    if (utc(field.value) !== wanted[name]) field.value = local(wanted[name]);
  }
  byId("o-clear").hidden = !active();
}

function showEndpoints() {
  const select = byId("o-endpoint");
  const offered = [...new Set([...names, ...(wanted.endpoint === "" ? [] : [wanted.endpoint])])];
  if (offered.join("\n") !== [...select.options].slice(1).map((option) => option.value).join("\n")) {
    select.replaceChildren(select.options[0], ...offered.map((name) => h("option", { value: name }, name)));
  }
  select.value = wanted.endpoint;
}

/** Convert between the local time of a field and UTC, both to the minute; an invalid time is none. */
function utc(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().replace(/:\d\d\.\d+Z$/, ":00Z");
}

function local(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
