// The list of watches: one page of the server's at a time, kept current by the stream. The server searches and filters.

import { call } from "./api.js";
import { attr, byId, draw, h, icon, redraw, sync, text, throttle } from "./dom.js";
import { age, clock, count, ENDED, MEANING, phaseOf, PHASES } from "./format.js";
import { complain } from "./toasts.js";

const PAGE = 50; // rows: what stands in the document, however many watches there are
const PAUSE = 2000; // milliseconds between reloads that the stream causes

const NONE = { q: "", source: "", phase: "", ended: "", label: [] };
let wanted = { ...NONE };
let cursors = [null]; // of this page and those before it
let items = [];
let next = null; // cursor of the page after this one
let counts = {}; // source -> phase -> n, of the last summary
let total = null; // of all watches, as of the last summary
let request = null; // the AbortController of the call under way
let loaded = false;
let visible = false;
let current = null; // key of the watch in the panel

export const keyOf = (watch) => `${watch.source}\n${watch.id}`;
export const hrefOf = (source, id) => `#/watch/${encodeURIComponent(source)}/${encodeURIComponent(id)}`;

/** Show the page that these filters begin with; `filters` as in the address. */
export function open(filters) {
  const given = { ...NONE, ...filters };
  const same = JSON.stringify(given) === JSON.stringify(wanted);
  visible = true;
  wanted = given;
  if (!same) cursors = [null];
  showFilters();
  load();
}

/** Stop loading: another view is shown. */
export function close() {
  visible = false;
}

export const refresh = throttle(() => visible && !document.hidden && load(), PAUSE);

/** Load now, such as after adding a watch; from the first page. */
export function reload() {
  cursors = [null];
  return load();
}

export const isLoaded = () => loaded;

/** Mark the row of the watch that the panel shows. */
export function mark(key) {
  current = key;
  draw("watches", render);
}

/** Take an event of the stream. */
export function note(event) {
  const watch = items.find((item) => item.id === event.task && item.source === event.source);
  if (watch !== undefined && event.sequence > watch.sequence) {
    Object.assign(watch, { state: event.state, phase: event.phase, sequence: event.sequence });
    if (event.state !== event.previous_state) watch.changed_at = event.timestamp;
    watch.ended = ENDED.has(event.phase) || event.type === "watch.lost";
    watch.fresh = true;
    draw("watches", render);
  }
  if (watch === undefined || filtered() || event.type === "watch.lost") refresh();
}

/** Take the counts of a summary; what is new shows up in them first. */
export function noteCounts(watches) {
  counts = watches;
  const now = sum(() => true);
  if (total !== null && now !== total) refresh();
  total = now;
  showSources(Object.keys(watches));
  draw("watches", render);
}

/** Offer these sources in the filter. */
export function showSources(names) {
  const select = byId("f-source");
  const all = [...new Set([...[...select.options].slice(1).map((option) => option.value), ...names])].sort();
  if (all.length === select.options.length - 1) return;
  select.replaceChildren(select.options[0], ...all.map((name) => h("option", { value: name }, name)));
  select.value = wanted.source;
}

const filtered = () => Object.values(wanted).some((value) => value.length > 0);

function sum(counted) {
  let n = 0;
  for (const [source, phases] of Object.entries(counts)) {
    for (const [phase, k] of Object.entries(phases)) if (counted(source, phase)) n += k;
  }
  return n;
}

/** Return how many match, where the counts tell. */
function known() {
  if (wanted.q !== "" || wanted.label.length > 0 || total === null) return null;
  return sum((source, phase) =>
    (wanted.source === "" || source === wanted.source) && (wanted.phase === "" || phase === wanted.phase) &&
    (wanted.ended === "" || String(ENDED.has(phase)) === wanted.ended));
}

async function load() {
  request?.abort();
  const mine = new AbortController();
  request = mine;
  const table = byId("watch-table");
  const slow = setTimeout(() => attr(table, "aria-busy", "true"), 400);
  try {
    const query = { ...wanted, limit: PAGE, cursor: cursors.at(-1) };
    const page = await call("GET", "v1/watches", { query, signal: mine.signal });
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

/** Take the later one: an event may have overtaken the reply. */
const newer = (seen, item) => (seen !== undefined && seen.sequence > item.sequence ? seen : item);

function render() {
  const now = Date.now();
  sync(byId("watch-rows"), items, keyOf, makeRow, (row, watch) => updateRow(row, watch, now));
  const empty = loaded && items.length === 0;
  byId("watch-table").hidden = empty;
  byId("watch-empty").hidden = !empty;
  if (empty) showEmpty();
  const first = (cursors.length - 1) * PAGE + 1;
  const all = known();
  const of = all !== null && all >= first + items.length - 1 ? ` of ${count(all)}` : "";
  text(byId("watch-range"), items.length === 0 ? "" : `${count(first)}–${count(first + items.length - 1)}${of}, newest first`);
  byId("newer").disabled = cursors.length === 1;
  byId("older").disabled = next === null;
}

function makeRow(watch) {
  const cell = (name, ...content) => h("td", { role: "cell", class: `c-${name}` }, ...content);
  const phase = cell("phase", h("span", { class: "word" }, icon("new"), h("span")), h("span", { class: "off" }));
  const link = h("a", { class: "id", href: hrefOf(watch.source, watch.id) }, watch.id);
  const row = h("tr", { role: "row" }, phase, cell("watch", link), cell("state"), cell("source", watch.source), cell("labels"), cell("changed num"), cell("age num"));
  row.addEventListener("animationend", () => row.classList.remove("fresh"));
  row.cells[2].classList.add("state");
  row.cells[5].append(h("time"));
  row.cells[6].append(h("time"));
  return row;
}

function updateRow(row, watch, now) {
  const phase = phaseOf(watch);
  const word = row.cells[0].firstChild;
  attr(word, "class", `word is-${phase}`);
  attr(word, "title", watch.lost ? `${MEANING.lost}: ${watch.lost}` : MEANING[phase]);
  redraw(word.firstChild, phase);
  text(word.lastChild, phase);
  text(row.cells[0].lastChild, !watch.ended && watch.connected === false ? "no stream" : "");
  text(row.cells[2], watch.state ?? "–");
  sync(row.cells[4], Object.entries(watch.labels), ([name]) => name, makeLabel, (chip, [, value]) => text(chip.lastChild, value));
  showTime(row.cells[5].firstChild, watch.changed_at, now);
  showTime(row.cells[6].firstChild, watch.created_at, now);
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
  const place = byId("watch-empty");
  if (filtered()) {
    place.replaceChildren(h("strong", {}, "Nothing matches"), "No watch has all of that. ", h("div", {}, h("button", { type: "button", click: clear }, "Clear the filters")));
  } else {
    place.replaceChildren(h("strong", {}, "No watches yet"), "Add one here, in the configuration, by queue or with ", h("code", {}, "notifier watch add ID"), ".");
  }
}

// -- filters

function showFilters() {
  const search = byId("q");
  if (search.value.trim() !== wanted.q) search.value = wanted.q;
  showSources(wanted.source === "" ? [] : [wanted.source]);
  byId("f-source").value = wanted.source;
  byId("f-phase").value = wanted.phase || { "": "", true: "ended", false: "open" }[wanted.ended];
  byId("clear").hidden = !filtered();
  sync(byId("f-labels"), wanted.label, (label) => label, makeFilter, () => {});
}

function makeFilter(label) {
  const remove = () => filter({ label: wanted.label.filter((other) => other !== label) });
  return h("button", { type: "button", class: "chip", title: "Remove this filter", "aria-label": `Remove the filter ${label}`, click: remove }, label, icon("close"));
}

/** Return the address of the list under these filters. */
export function address() {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(wanted)) for (const one of [value].flat()) if (one !== "") query.append(name, one);
  return query.size === 0 ? "#/watches" : `#/watches?${query}`;
}

/** Change the filters, and the address with them. */
export function filter(change) {
  wanted = { ...wanted, ...change };
  cursors = [null];
  history.replaceState(null, "", address());
  showFilters();
  return load();
}

function clear() {
  filter(NONE);
  byId("q").focus();
}

function begin() {
  for (const phase of PHASES) byId("f-phase").append(h("option", { value: phase }, phase));
  let typing;
  byId("q").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => filter({ q: byId("q").value.trim() }), 200);
  });
  byId("f-source").addEventListener("change", (event) => filter({ source: event.target.value }));
  byId("f-phase").addEventListener("change", (event) => filter({ phase: "", ended: "", ...chosen(event.target.value) }));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", clear);
  byId("older").addEventListener("click", () => turn(() => cursors.push(next)));
  byId("newer").addEventListener("click", () => turn(() => cursors.pop()));
  byId("watch-rows").addEventListener("keydown", step);
  setInterval(() => visible && !document.hidden && draw("watches", render), 1000); // ages grow
}

/** Return the filter that a choice of the list of phases means. */
function chosen(value) {
  if (value === "open" || value === "ended") return { ended: String(value === "ended") };
  return { phase: value };
}

async function turn(how) {
  how();
  await load();
  byId("view-watches").scrollIntoView({ block: "start" });
}

/** Go from row to row by the arrow keys. */
function step(event) {
  const row = event.target.closest("tr");
  const rows = row?.parentElement.rows;
  const to = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling, Home: rows?.[0], End: rows?.[rows.length - 1] }[event.key];
  if (to === undefined || to === null || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  to.querySelector("a").focus();
}

begin();
