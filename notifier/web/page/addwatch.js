// Adds a watch: checks the fields, and shows the server's problems beside their fields.

import { call } from "./api.js";
import { answer } from "./dialogs.js";
import { attr, byId, h, text } from "./dom.js";
import { tell } from "./toasts.js";

const FIELDS = ["id", "source", "labels", "metadata"];

let sources = [];

/** Offer these sources. */
export function offer(names) {
  sources = names;
}

/** Ask for a watch and add it; resolves to it, or to null. */
export async function add() {
  const select = byId("add-source");
  const chosen = select.value;
  select.replaceChildren(...sources.map((name) => h("option", { value: name }, name)));
  if (sources.includes(chosen)) select.value = chosen;
  byId("add-id").value = "";
  complain({});
  return answer(byId("add-dialog"), submit);
}

async function submit() {
  const { body, wrong } = read();
  complain(wrong);
  if (Object.keys(wrong).length > 0) return undefined;
  const button = byId("add-dialog").querySelector("[type=submit]");
  button.disabled = true;
  try {
    const watch = await call("POST", "v1/watches", { body });
    tell(`The watch ${body.id} was added.`);
    return { source: watch.source ?? body.source, id: watch.id ?? body.id };
  } catch (error) {
    complain(sort(error));
    return undefined;
  } finally {
    button.disabled = false;
  }
}

function read() {
  const wrong = {};
  const body = { id: byId("add-id").value.trim() };
  if (body.id === "") wrong.id = "Enter the task's id.";
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
  return { body, wrong };
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
