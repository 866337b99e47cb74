// Adds watches: checks the fields, and shows the server's problems beside their fields.

import { call } from "./api.js";
import { answer } from "./dialogs.js";
import { attr, byId, h, text } from "./dom.js";
import { plural } from "./format.js";
import { complain as warn, tell } from "./toasts.js";

const FIELDS = ["id", "source", "endpoints", "labels", "metadata"];

let sources = [];
let endpoints = [];

/** Offer these sources and endpoints. */
export function offer(names, receivers) {
  sources = names;
  endpoints = receivers;
}

/** Ask for watches and add them; resolves to them, or to null. */
export async function add() {
  const select = byId("add-source");
  const chosen = select.value;
  select.replaceChildren(...sources.map((name) => h("option", { value: name }, name)));
  if (sources.includes(chosen)) select.value = chosen;
  byId("add-endpoints").replaceChildren(...endpoints.map((name) => h("option", { value: name }, name)));
  byId("add-endpoints").size = Math.min(Math.max(endpoints.length, 1), 4);
  byId("add-id").value = "";
  complain({});
  return answer(byId("add-dialog"), submit);
}

async function submit() {
  const { bodies, wrong } = read();
  complain(wrong);
  if (Object.keys(wrong).length > 0) return undefined;
  const button = byId("add-dialog").querySelector("[type=submit]");
  button.disabled = true;
  try {
    const answer = await call("POST", "v1/watches", { body: bodies });
    tell(outcome(answer));
    for (const message of answer.warnings) warn("Warning", { message });
    return answer.items;
  } catch (error) {
    complain(sort(error));
    return undefined;
  } finally {
    button.disabled = false;
  }
}

function outcome({ items, created, existing }) {
  if (items.length === 1) return `The watch ${items[0].id} ${created === 1 ? "was added" : "is followed already"}.`;
  const known = existing > 0 ? `, ${existing} ${existing === 1 ? "was" : "were"} followed already` : "";
  return `${plural(created, "watch was", "watches were")} added${known}.`;
}

function read() {
  const wrong = {};
  const body = {};
  const ids = byId("add-id").value.split("\n").map((one) => one.trim()).filter(Boolean);
  if (ids.length === 0) wrong.id = "Enter the task's id.";
  const chosen = [...byId("add-endpoints").selectedOptions].map((option) => option.value);
  if (chosen.length > 0) body.endpoints = chosen;
  if (byId("add-source").value !== "") body.source = byId("add-source").value;
  const labels = {};
  for (const line of byId("add-labels").value.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const [, name, value] = /^([^:=]+?)\s*[:=]\s*(.*)$/.exec(line) ?? [];
    if (name === undefined) wrong.labels = `“${line}” is not “name: value”.`;
    else labels[name] = value;
  }
  if (Object.keys(labels).length > 0) body.labels = labels;
  const metadata = byId("add-metadata").value.trim();
  try {
    if (metadata !== "") body.metadata = JSON.parse(metadata);
  } catch (error) {
    wrong.metadata = `This is not JSON: ${error.message}`;
  }
  return { bodies: ids.map((id) => ({ id, ...body })), wrong };
}

/** Sort the server's problems, such as `labels.team: ...`, by field. */
function sort(error) {
  const wrong = {};
  for (const problem of error.problems?.length > 0 ? error.problems : [error.message]) {
    const [, field, rest] = /^(?:\[\d+\]\.?)?(\w+)[^:]*:\s*(.*)$/s.exec(problem) ?? [];
    const place = FIELDS.includes(field) ? field : "";
    wrong[place] = [wrong[place], place === "" ? problem : rest].filter(Boolean).join("\n");
  }
  return wrong;
}

function complain(wrong) {
  text(byId("add-wrong"), wrong[""] ?? "");
  for (const field of FIELDS) {
    text(byId(`wrong-${field}`), wrong[field] ?? "");
    attr(byId(`add-${field}`), "aria-invalid", wrong[field] ? "true" : null);
  }
  const first = FIELDS.find((field) => wrong[field]);
  if (first !== undefined) byId(`add-${first}`).focus();
}
