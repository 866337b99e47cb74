// The list of watches: one page of the server's at a time, kept current by the stream.

import { call } from "./api.js";
import { attr, byId, draw, h, icon, redraw, sync, text, throttle } from "./dom.js";
import * as filters from "./filters.js";
import { age, clock, count, ENDED, MEANING, PHASES, phaseOf } from "./format.js";
import { sortable } from "./sorting.js";
import { complain } from "./toasts.js";

const PAGE = 50; // rows in the document, for any number of watches
const PAUSE = 2000; // milliseconds between reloads that the stream causes
const RELOAD_EVERY = 10_000; // milliseconds: the stream does not send whether a watch is connected
const SLOW = 400; // milliseconds of loading before it shows

const order = sortable(byId("watch-table"), [
  (watch) => PHASES.indexOf(phaseOf(watch)), (watch) => watch.id, (watch) => watch.state, (watch) => watch.source, null,
  (watch) => -Date.parse(watch.changed_at), (watch) => -Date.parse(watch.created_at),
], () => draw("watches", render));
const FIRST = { ended: "", cursor: null };
let cursors = [FIRST]; // of this page and the pages before it: where it begins, among open or ended ones
let items = [];
let next = null; // where the page after this one begins
let counts = {}; // source -> phase -> n, from the last summary
let total = null; // of all watches, from the last summary
let request = null; // the AbortController of the current call
let loaded = false;
let visible = false;
let current = null; // key of the watch in the panel

export const keyOf = (watch) => `${watch.source}\n${watch.id}`;
export const hrefOf = (source, id) => `#/watch/${encodeURIComponent(source)}/${encodeURIComponent(id)}`;
export const isLoaded = () => loaded;

/** Show the first page for these filters; `query` as in the address. */
export function open(query) {
  visible = true;
  if (filters.take(query)) cursors = [FIRST];
  load();
}

/** Stop loading, because another view is shown. */
export function close() {
  visible = false;
}

export const refresh = throttle(() => visible && !document.hidden && load(), PAUSE);

/** Load the first page now, for example after adding a watch. */
export function reload() {
  cursors = [FIRST];
  return load();
}

/** Mark the row of the watch that the panel shows. */
export function mark(key) {
  current = key;
  draw("watches", render);
}

/** Process an event of the stream. */
export function note(event) {
  const watch = items.find((item) => item.id === event.task && item.source === event.source);
  if (watch !== undefined && event.sequence > watch.sequence) {
    const { state, phase, sequence } = event;
    Object.assign(watch, { state, phase, sequence, connected: true, fresh: true });
    if (state !== event.previous_state) watch.changed_at = event.timestamp;
    watch.ended = ENDED.has(phase) || event.type === "watch.lost";
    draw("watches", render);
  }
  const isNew = watch === undefined && event.sequence === 1;
  if (cursors.length === 1 && (isNew || filters.active())) refresh();
  if (event.type === "watch.lost") refresh();
}

/** Process the counts of a summary; new watches show up in them first. */
export function noteCounts(watches) {
  counts = watches;
  const now = sum(() => true);
  if (total !== null && now !== total) refresh();
  total = now;
  filters.offer(Object.keys(watches));
  draw("watches", render);
}

function sum(counted) {
  let n = 0;
  for (const [source, phases] of Object.entries(counts)) {
    for (const [phase, k] of Object.entries(phases)) if (counted(source, phase)) n += k;
  }
  return n;
}

async function load() {
  request?.abort();
  const mine = new AbortController();
  request = mine;
  const table = byId("watch-table");
  const slow = setTimeout(() => attr(table, "aria-busy", "true"), SLOW);
  try {
    const page = await fetchPage(cursors.at(-1), mine.signal);
    const before = new Map(items.map((item) => [keyOf(item), item]));
    items = page.items.map((item) => newer(before.get(keyOf(item)), item));
    next = page.next;
    loaded = true;
    draw("watches", render);
  } catch (error) {
    complain("The watches cannot be listed", error);
  } finally {
    clearTimeout(slow);
    if (request === mine) attr(table, "aria-busy", null);
  }
}

/** Fetch a page that begins at a place; unless the filters say which, open watches come first, then ended ones. */
async function fetchPage({ ended, cursor }, signal) {
  const fetch = (more) => call("GET", "v1/watches", { query: { ...filters.query(), ...more }, signal });
  if (!filters.mixed()) {
    const page = await fetch({ limit: PAGE, cursor });
    return { items: page.items, next: page.next && { ended: "", cursor: page.next } };
  }
  const now = ended || "false";
  const page = await fetch({ limit: PAGE, cursor, ended: now });
  if (page.next !== null) return { items: page.items, next: { ended: now, cursor: page.next } };
  const left = PAGE - page.items.length;
  if (now === "true" || left === 0) return { items: page.items, next: now === "true" ? null : { ended: "true", cursor: null } };
  const rest = await fetch({ limit: left, ended: "true" });
  return { items: [...page.items, ...rest.items], next: rest.next && { ended: "true", cursor: rest.next } };
}

/** Return the later one: an event may have overtaken the reply. */
const newer = (seen, item) => (seen !== undefined && seen.sequence > item.sequence ? seen : item);

function render() {
  const now = Date.now();
  sync(byId("watch-rows"), order.apply(items), keyOf, makeRow, (row, watch) => updateRow(row, watch, now));
  const empty = loaded && items.length === 0;
  byId("watch-table").hidden = empty;
  byId("watch-empty").hidden = !empty;
  if (empty) showEmpty();
  showRange();
  byId("newer").disabled = cursors.length === 1;
  byId("older").disabled = next === null;
}

function showRange() {
  const first = (cursors.length - 1) * PAGE + 1;
  const last = first + items.length - 1;
  const all = filters.countable() && total !== null ? sum(filters.counts) : 0;
  const of = all >= last ? ` of ${count(all)}` : "";
  text(byId("watch-range"), items.length === 0 ? "" : `${count(first)}–${count(last)}${of}, ${order.words() ?? (filters.mixed() ? "open ones first" : "newest first")}`);
}

function makeRow(watch) {
  const cell = (name, ...content) => h("td", { role: "cell", class: name }, ...content);
  const row = h("tr", { role: "row" },
    cell("c-phase", h("span", { class: "word" }, icon("new"), h("span")), h("span", { class: "off" })),
    cell("c-watch", h("a", { class: "id", href: hrefOf(watch.source, watch.id) }, watch.id)),
    cell("c-state state"),
    cell("c-source", watch.source),
    cell("c-labels"),
    cell("c-changed num", h("time")),
    cell("c-age num", h("time")));
  row.addEventListener("animationend", () => row.classList.remove("fresh"));
  return row;
}

function updateRow(row, watch, now) {
  const [phaseCell, , state, , labels, changed, added] = row.cells;
  const phase = phaseOf(watch);
  const word = phaseCell.firstChild;
  attr(word, "class", `word is-${phase}`);
  attr(word, "title", watch.lost ? `${MEANING.lost}: ${watch.lost}` : MEANING[phase]);
  redraw(word.firstChild, phase);
  text(word.lastChild, phase);
  text(phaseCell.lastChild, !watch.ended && watch.connected === false ? "no stream" : "");
  text(state, watch.state ?? "–");
  sync(labels, Object.entries(watch.labels), ([name]) => name, makeLabel, (chip, [, value]) => text(chip.lastChild, value));
  showTime(changed.firstChild, watch.changed_at, now);
  showTime(added.firstChild, watch.created_at, now);
  attr(row, "aria-current", keyOf(watch) === current ? "true" : null);
  if (watch.fresh) row.classList.add("fresh");
  watch.fresh = false;
}

function makeLabel([name]) {
  return h("span", { class: "chip" }, h("span", {}, `${name}: `), h("b"));
}

function showTime(node, instant, now) {
  attr(node, "datetime", instant);
  attr(node, "title", clock(instant));
  text(node, age(instant, now));
}

function showEmpty() {
  const filtered = filters.active();
  const place = byId("watch-empty");
  if (place.dataset.filtered === String(filtered)) return; // a button in it may have the focus
  place.dataset.filtered = filtered;
  const again = h("button", { type: "button", click: filters.clear }, "Clear the filters");
  const none = [h("strong", {}, "Nothing matches"), "No watch matches all filters.", h("div", {}, again)];
  const add = h("code", {}, "notifier watch add ID");
  const nothing = [h("strong", {}, "No watches yet"), "Add one here, in the configuration, by queue or with ", add, "."];
  place.replaceChildren(...(filtered ? none : nothing));
}

async function turn(how) {
  how();
  await load();
  byId("view-watches").scrollIntoView({ block: "start" });
}

/** Go from row to row by the arrow keys. */
function step(event) {
  const row = event.target.closest("tr");
  if (row === null || event.ctrlKey || event.altKey || event.metaKey) return;
  const { rows } = row.parentElement;
  const { nextElementSibling: down, previousElementSibling: up } = row;
  const to = { ArrowDown: down, ArrowUp: up, Home: rows[0], End: rows[rows.length - 1] }[event.key];
  if (!to) return;
  event.preventDefault();
  to.querySelector("a").focus();
}

filters.begin(reload);
byId("older").addEventListener("click", () => turn(() => cursors.push(next)));
byId("newer").addEventListener("click", () => turn(() => cursors.pop()));
byId("watch-rows").addEventListener("keydown", step);
setInterval(() => visible && !document.hidden && draw("watches", render), 1000); // ages grow
setInterval(() => document.body.dataset.connection === "live" && refresh(), RELOAD_EVERY);
