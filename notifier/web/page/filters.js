// The filters of the list of watches: controls above it, mirrored in the address. The server filters.

import { byId, h, icon, sync } from "./dom.js";
import { ENDED, PHASES } from "./format.js";
import * as panel from "./panel.js";

const TYPING = 200; // milliseconds of rest before a search
const NONE = { q: "", source: "", phase: "", ended: "", label: [] }; // names and values of the API

let wanted = { ...NONE };
let changed = () => {};

/** Set the function to call when the filters change. */
export function begin(onChange) {
  changed = onChange;
  for (const phase of PHASES) byId("f-phase").append(h("option", { value: phase }, phase));
  let typing;
  byId("q").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => change({ q: byId("q").value.trim() }), TYPING);
  });
  byId("f-source").addEventListener("change", (event) => change({ source: event.target.value }));
  byId("f-phase").addEventListener("change", (event) => change({ phase: "", ended: "", ...chosen(event.target.value) }));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", clear);
}

/** Return the filters as a query of the API. */
export const query = () => wanted;

/** Return whether a choice says whether the watches have ended; if none does, open ones come first. */
export const mixed = () => wanted.phase === "" && wanted.ended === "";

/** Return whether anything is filtered. */
export const active = () => Object.values(wanted).some((value) => value.length > 0);

/** Return which counts by source and phase add up to the number of matches, or null if none do. */
export const countable = () => wanted.q === "" && wanted.label.length === 0;
export const counts = (source, phase) =>
  (wanted.source === "" || source === wanted.source) &&
  (wanted.phase === "" || phase === wanted.phase) &&
  (wanted.ended === "" || String(ENDED.has(phase)) === wanted.ended);

/** Apply the filters of an address; return whether they have changed. */
export function take(text) {
  const parameters = new URLSearchParams(text ?? "");
  const before = JSON.stringify(wanted);
  wanted = { ...NONE, label: parameters.getAll("label") };
  for (const name of ["q", "source", "phase", "ended"]) wanted[name] = parameters.get(name) ?? "";
  show();
  return JSON.stringify(wanted) !== before;
}

/** Return the address of the list under these filters. */
export function address() {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(wanted)) {
    for (const one of [value].flat()) if (one !== "") parameters.append(name, one);
  }
  return parameters.size === 0 ? "#/watches" : `#/watches?${parameters}`;
}

/** Clear the filters. */
export function clear() {
  change(NONE);
  byId("q").focus();
}

/** Add these sources to the choices. */
export function offer(names) {
  const select = byId("f-source");
  const all = [...new Set([...[...select.options].slice(1).map((option) => option.value), ...names])].sort();
  if (all.length === select.options.length - 1) return;
  select.replaceChildren(select.options[0], ...all.map((name) => h("option", { value: name }, name)));
  select.value = wanted.source;
}

function change(changes) {
  wanted = { ...wanted, ...changes };
  if (!panel.isOpen()) history.replaceState(null, "", address()); // an open panel has its own address
  show();
  changed();
}

/** Return the filter for a choice in the list of phases. */
function chosen(value) {
  if (value === "open" || value === "ended") return { ended: String(value === "ended") };
  return { phase: value };
}

function show() {
  const search = byId("q");
  if (search.value.trim() !== wanted.q) search.value = wanted.q;
  offer(wanted.source === "" ? [] : [wanted.source]);
  byId("f-source").value = wanted.source;
  byId("f-phase").value = wanted.phase || { "": "", true: "ended", false: "open" }[wanted.ended];
  byId("clear").hidden = !active();
  sync(byId("f-labels"), wanted.label, (label) => label, makeLabel, () => {});
}

function makeLabel(label) {
  const remove = () => change({ label: wanted.label.filter((other) => other !== label) });
  const says = { title: "Remove this filter", "aria-label": `Remove the filter ${label}` };
  return h("button", { type: "button", class: "chip", ...says, click: remove }, label, icon("close"));
}
