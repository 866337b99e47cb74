// The deliveries: a page of the server's list at a time under the filters; dead ones are retried one by one or together.

import { call } from "./api.js";
import { describe, receiver, retry } from "./deliveries.js";
import { confirm } from "./dialogs.js";
import { attr, byId, draw, h, icon, redraw, sync, text, throttle } from "./dom.js";
import * as endpoints from "./endpoints.js";
import { age, clock, count, plural } from "./format.js";
import * as sieve from "./sieve.js";
import { sortable } from "./sorting.js";
import { complain, tell } from "./toasts.js";
import { hrefOf } from "./watches.js";

const PAGE = 50;
const PAUSE = 2000; // milliseconds between reloads that the stream causes

const order = sortable(byId("outbox-table"), [
  (item) => item.status, (item) => item.id, (item) => item.task, (item) => item.type, (item) => receiver(item),
  (item) => item.attempt, (item) => -Date.parse(item.created_at), null,
], () => draw("outbox", render));

let sources = [];
let cursors = [null];
let items = [];
let next = null;
let loaded = false;
let visible = false;
let seen = ""; // the counts when the list was loaded
let request = null; // the AbortController of the current call

/** Show the first page for these filters; `query` as in the address. */
export function open(query) {
  visible = true;
  if (sieve.take(query)) cursors = [null];
  load();
}

/** Stop loading, because another view is shown. */
export function close() {
  visible = false;
}

/** Know the names of the sources, with which a task may begin. */
export function know(names) {
  sources = names;
}

/** Load again if the endpoints' counts have changed. */
export function note(all) {
  const now = JSON.stringify(all.map((one) => [one.name, one.state, one.pending, one.dead]));
  if (now !== seen) refresh();
  seen = now;
  sieve.offer(all.map((one) => one.name));
  if (visible) draw("outbox", render);
}

export const refresh = throttle(() => visible && !document.hidden && load(), PAUSE);

async function load() {
  request?.abort();
  const mine = new AbortController();
  request = mine;
  try {
    const query = { ...sieve.query(sources), limit: PAGE, cursor: cursors.at(-1) };
    const page = await call("GET", "v1/deliveries", { query, signal: mine.signal });
    ({ items, next } = page);
    loaded = true;
    draw("outbox", render);
  } catch (error) {
    complain("The deliveries cannot be listed", error);
  }
}

function render() {
  const now = Date.now();
  sync(byId("outbox-rows"), order.apply(items), (item) => item.id, make, (row, item) => update(row, item, now));
  byId("outbox-table").hidden = items.length === 0;
  const empty = loaded && items.length === 0;
  byId("outbox-empty").hidden = !empty;
  if (empty) showEmpty();
  showCounts();
  showRetry();
  const first = (cursors.length - 1) * PAGE + 1;
  text(byId("outbox-range"), items.length === 0 ? "" : `${count(first)}–${count(first + items.length - 1)}, ${order.words() ?? "newest first"}`);
  byId("outbox-newer").disabled = cursors.length === 1;
  byId("outbox-older").disabled = next === null;
}

/** Show the numbers of pending and dead deliveries, which filter. */
function showCounts() {
  const of = sieve.endpoint();
  const counted = [["pending", endpoints.pendingOf(of), "ready"], ["dead", endpoints.deadOf(of), "dead"]];
  sync(byId("outbox-counts"), counted, ([status]) => status, makeCount, (item, [status, n]) => {
    attr(item.firstChild, "href", sieve.address({ status: sieve.status() === status ? "" : status }));
    attr(item.firstChild, "aria-current", sieve.status() === status ? "true" : null);
    text(item.querySelector("b"), count(n));
  });
}

function makeCount([status, , look]) {
  return h("li", {}, h("a", {}, h("span", { class: `is-${look}` }, icon(look)), `${status} `, h("b")));
}

/** Offer to retry all dead deliveries that the filters choose; the server cannot choose them by task. */
function showRetry() {
  const button = byId("retry-all");
  const dead = endpoints.deadOf(sieve.endpoint());
  button.hidden = dead === 0 || sieve.ofTask() || !["", "dead"].includes(sieve.status());
  const of = sieve.endpoint() === "" ? "" : ` of ${sieve.endpoint()}`;
  text(button, sieve.ofTime() ? `Retry the dead ones of this time${of}` : `Retry all ${count(dead)} dead${of}`);
}

function showEmpty() {
  const filtered = sieve.active();
  const place = byId("outbox-empty");
  const kind = sieve.status() === "dead" && !sieve.ofTask() && !sieve.ofTime() ? "dead" : String(filtered);
  if (place.dataset.kind === kind) return; // a button in it may have the focus
  place.dataset.kind = kind;
  const again = () => h("div", {}, h("button", { type: "button", click: sieve.clear }, "Clear the filters"));
  const none = {
    dead: [h("strong", {}, "No dead deliveries"), "Every delivery was accepted or is still being tried.", again()],
    true: [h("strong", {}, "Nothing matches"), "No delivery matches all filters.", again()],
    false: [h("strong", {}, "No deliveries yet"), "Each change of a watch becomes one for each endpoint that receives it."],
  };
  place.replaceChildren(...none[kind]);
}

function make(item) {
  const cell = (name, ...content) => h("td", { role: "cell", class: `c-${name}` }, ...content);
  const watch = item.task ? h("a", { class: "mono over", href: hrefOf(item.source, item.task) }, item.task) : "–";
  const again = async (event) => {
    event.target.disabled = true;
    if (await retry(item)) await Promise.all([load(), endpoints.load()]);
    else event.target.disabled = false;
  };
  const says = `Retry delivery ${item.id} to ${receiver(item)}`;
  return h("tr", { role: "row" },
    cell("status", h("a", { class: "id", href: `#/delivery/${item.id}` }, h("span", { class: "word" }, icon("ready"), h("span")))),
    cell("delivery num", String(item.id)),
    cell("watch", watch), cell("event", item.type), cell("endpoint", receiver(item)), cell("told"),
    cell("age num", h("time", { datetime: item.created_at, title: clock(item.created_at) })),
    cell("action num", h("button", { type: "button", "aria-label": says, click: again }, "Retry")));
}

function update(row, item, now) {
  const [status, , , , , told, created, action] = row.cells;
  const link = status.firstChild;
  attr(link, "aria-label", `Delivery ${item.id}, ${item.status}`);
  const word = link.firstChild;
  attr(word, "class", `word is-${item.status}`);
  redraw(word.firstChild, item.status);
  text(word.lastChild, item.status);
  text(told, describe(item, item.created_at));
  text(created.firstChild, age(item.created_at, now));
  action.firstChild.hidden = item.status !== "dead";
}

async function retryAll() {
  const name = sieve.endpoint();
  const of = name === "" ? "" : ` of ${name}`;
  const all = sieve.ofTime() ? "the dead deliveries of this time" : plural(endpoints.deadOf(name), "dead delivery", "dead deliveries");
  if (!(await confirm(`Retry ${all}${of}?`, "They are sent in their order, with the same webhook-id as before.", "Retry all"))) return;
  try {
    const chosen = Object.entries({ endpoint: name, ...sieve.period() }).filter(([, value]) => value !== "");
    const reply = await call("POST", "v1/deliveries/retry", { body: Object.fromEntries(chosen) });
    const to = name === "" ? "" : ` to ${name}`;
    tell(`${plural(reply.retried, "delivery", "deliveries")}${to} ${reply.retried === 1 ? "is" : "are"} sent again.`);
  } catch (error) {
    complain(`The dead deliveries${of} cannot be retried`, error);
  }
  await Promise.all([load(), endpoints.load()]);
}

async function turn(how) {
  how();
  await load();
  byId("view-deliveries").scrollIntoView({ block: "start" });
}

sieve.begin(() => {
  cursors = [null];
  load();
});
byId("retry-all").addEventListener("click", retryAll);
byId("outbox-older").addEventListener("click", () => turn(() => cursors.push(next)));
byId("outbox-newer").addEventListener("click", () => turn(() => cursors.pop()));
setInterval(() => visible && !document.hidden && draw("outbox", render), 1000); // ages grow
