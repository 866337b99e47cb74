// One watch in the panel: its facts, its events, and the deliveries of each event.

import { call, path } from "./api.js";
import { confirm } from "./dialogs.js";
import { showDeliveries } from "./deliveries.js";
import { attr, h, icon, redraw, sync, text, throttle } from "./dom.js";
import { clock, duration, MEANING, phaseOf, secondsBetween, spoken } from "./format.js";
import { pretty, showFacts } from "./facts.js";
import * as panel from "./panel.js";
import { complain, tell } from "./toasts.js";

const PAUSE = 400; // milliseconds between reloads at least
const MARK = { "watch.lost": "lost", "watch.stalled": "waiting" };
const ORIGINS = { file: "from a file", api: "by the API", queue: "by a queue" };
const GONE = "There is no such watch. It may have been removed, or forgotten after the retention.";

let shown = null; // {source, id, body parts, watch}
let hooks = {}; // {onLabel(text), onRemoved()}

/** Set the functions to call when a label is chosen and when the watch is removed. */
export function begin(callbacks) {
  hooks = callbacks;
}

/** Open the panel for a watch. */
export function open(source, id) {
  if (shown !== null && shown.source === source && shown.id === id) return;
  const body = panel.open("Watch", id, () => {
    shown = null;
  });
  shown = { source, id, watch: null, ...build(body) };
  load();
}

/** Process an event of the stream. */
export function note(event) {
  if (shown !== null && event.task === shown.id && event.source === shown.source) reload();
}

/** Load again while a delivery is pending; called every few seconds. */
export function tick() {
  if (shown?.watch && (!shown.watch.ended || shown.watch.events.some((event) => event.deliveries.some(isOpen)))) reload();
}

const isOpen = (delivery) => delivery.status === "ready" || delivery.status === "waiting";
const reload = throttle(() => shown !== null && load(), PAUSE);

async function load() {
  const mine = shown;
  try {
    const watch = await call("GET", path("watches", mine.source, mine.id));
    if (mine !== shown) return;
    mine.watch = watch;
    show(mine, watch);
  } catch (error) {
    if (mine !== shown) return;
    if (error.status === 404) mine.body.replaceChildren(h("p", { class: "muted" }, GONE));
    else if (mine.watch === null) mine.body.replaceChildren(h("p", { class: "wrong" }, error.message));
    else complain("The watch cannot be read", error);
  }
}

function build(body) {
  const word = h("span", { class: "word" }, icon("new"), h("span"));
  const meaning = h("span", { class: "muted" });
  const remove = h("button", { type: "button", click: removeWatch }, "Remove");
  const facts = h("dl", { class: "facts" });
  const labels = h("div", { class: "chips" });
  const metadata = h("pre", { tabindex: "0", "aria-label": "Metadata" });
  const events = h("ol", { class: "timeline" });
  const more = h("p", { class: "muted" });
  const lead = h("div", { class: "lead" }, word, meaning, h("span", { class: "grow" }), remove);
  body.append(lead, facts, h("h3", {}, "Timeline"), more, events);
  return { body, word, meaning, facts, labels, metadata, events, more };
}

function show(parts, watch) {
  const phase = phaseOf(watch);
  attr(parts.word, "class", `word is-${phase}`);
  redraw(parts.word.firstChild, phase);
  text(parts.word.lastChild, phase);
  text(parts.meaning, MEANING[phase]);
  sync(parts.labels, Object.entries(watch.labels), ([name]) => name, makeLabel, () => {});
  text(parts.metadata, pretty(watch.metadata));
  showFacts(parts.facts, [
    ["Source", watch.source],
    ["State", watch.state],
    ["Stream", connection(watch)],
    ["Node", watch.node],
    ["Lost", watch.lost ? spoken(watch.lost) : null],
    ["Added", `${clock(watch.created_at)}, ${ORIGINS[watch.origin]}`],
    ["Changed", watch.changed_at === watch.created_at ? "not since it was added" : `${clock(watch.changed_at)}, ${since(watch, watch.changed_at)} after it was added`],
    ["Receivers", [...watch.receivers, ...(watch.callback === null ? [] : [watch.callback])].join(", ") || "nobody: no endpoint receives its events"],
    ["Labels", Object.keys(watch.labels).length > 0 ? parts.labels : null],
    ["Metadata", pretty(watch.metadata) === "{}" ? null : parts.metadata],
  ]);
  const nothing = watch.events.length === 0 ? "Nothing has happened yet." : "";
  text(parts.more, watch.more ? "The latest events are shown; there are older ones." : nothing);
  sync(parts.events, watch.events, (event) => event.id, (event) => makeEvent(event, watch), (node, event) => {
    showDeliveries(node.querySelector(".sent"), event.deliveries, event.timestamp, reload);
  });
}

const since = (watch, instant) => duration(secondsBetween(watch.created_at, instant));

function connection(watch) {
  if (watch.ended) return "closed: the watch has ended";
  const link = watch.connection;
  if (link === null) return `of ${watch.node}: only that node knows its state`;
  if (link.open) return link.unread ? `open, but it cannot be read: ${link.unread}` : "open";
  const trouble = link.error ?? link.trouble;
  return `not open${trouble ? `: ${trouble}` : ""}${link.failures > 1 ? ` (${link.failures} tries failed in a row)` : ""}`;
}

function makeLabel([name, value]) {
  const choose = () => hooks.onLabel(`${name}:${value}`);
  const title = "List the watches with this label";
  return h("button", { type: "button", class: "chip", title, click: choose }, h("span", {}, `${name}: `), value);
}

function makeEvent(event, watch) {
  const phase = MARK[event.type] ?? event.phase ?? "new";
  const data = event.payload?.data ?? {};
  const mark = icon(phase, `mark is-${phase}`);
  const at = { datetime: event.timestamp, title: event.timestamp };
  return h("li", {}, mark,
    h("div", { class: "what" }, h("b", {}, headline(event)), h("time", at, `${clock(event.timestamp)} · +${since(watch, event.timestamp)}`)),
    h("p", { class: "about" }, event.type),
    explanation(data).map((line) => h("p", {}, line)),
    (data.result?.urls ?? []).map((url, n) => h("p", {}, result(url), kept(data.result.archived?.[n]))),
    h("div", { class: "sent" }));
}

function headline(event) {
  if (event.type === "watch.lost") return "lost";
  if (event.type === "watch.stalled") return `no change of ${event.state}`;
  return event.previous_state ? `${event.previous_state} → ${event.state}` : event.state;
}

function explanation(data) {
  const error = [data.error?.code, data.error?.message].filter(Boolean).join(": ");
  const progress = typeof data.progress === "number" ? `progress ${data.progress}` : "";
  return [error, spoken(data.reason), data.detail ?? "", progress].filter(Boolean);
}

/** Say where the copy of a result is, or why there is none. */
function kept(copy) {
  if (copy === undefined) return "";
  return h("span", { class: "muted" }, copy.url ? ` kept: ${copy.url}` : ` not kept: ${copy.reason}`);
}

/** Link to a result, if it is a web address: it comes from the provider and may be anything. */
function result(url) {
  if (!/^https?:\/\//i.test(url)) return h("code", {}, url);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, url);
}

async function removeWatch() {
  const { source, id } = shown;
  const explanation = "It is no longer followed. Its recorded events are still delivered.";
  if (!(await confirm(`Remove the watch ${id}?`, explanation, "Remove"))) return;
  try {
    await call("DELETE", path("watches", source, id));
    tell(`The watch ${id} was removed.`);
    hooks.onRemoved();
  } catch (error) {
    complain(`The watch ${id} cannot be removed`, error);
  }
}
