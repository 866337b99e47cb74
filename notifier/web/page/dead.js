// The dead letters: deliveries that were given up but kept, for retrying one by one or by endpoint.

import { call } from "./api.js";
import { receiver, retry } from "./deliveries.js";
import { confirm } from "./dialogs.js";
import { byId, draw, h, sync, text, throttle } from "./dom.js";
import * as endpoints from "./endpoints.js";
import { age, clock, count, plural, spoken } from "./format.js";
import { complain, tell } from "./toasts.js";
import { hrefOf } from "./watches.js";

const PAGE = 50;

let endpoint = ""; // "": all endpoints
let cursors = [null];
let items = [];
let next = null;
let loaded = false;
let visible = false;
let seen = ""; // the counts when the list was loaded

/** Show the dead letters of an endpoint, or of all. */
export function open(name) {
  visible = true;
  if (name !== endpoint) cursors = [null];
  endpoint = name;
  load();
}

/** Stop loading, because another view is shown. */
export function close() {
  visible = false;
}

/** Load again if the number of dead letters has changed. */
export function note(all) {
  const now = JSON.stringify(all.map((one) => [one.name, one.dead]));
  if (now !== seen) {
    seen = now;
    refresh();
  }
  draw("dead", render);
}

const refresh = throttle(() => visible && load(), 1000);

async function load() {
  const mine = endpoint;
  try {
    const query = { status: "dead", endpoint, limit: PAGE, cursor: cursors.at(-1) };
    const page = await call("GET", "v1/deliveries", { query });
    if (mine !== endpoint) return;
    ({ items, next } = page);
    loaded = true;
    draw("dead", render);
  } catch (error) {
    complain("The dead letters cannot be listed", error);
  }
}

function render() {
  const select = byId("d-endpoint");
  const names = [...new Set([...endpoints.names(), ...(endpoint === "" ? [] : [endpoint])])];
  if (names.length !== select.options.length - 1) {
    select.replaceChildren(select.options[0], ...names.map((name) => h("option", { value: name }, name)));
  }
  select.value = endpoint;
  const all = byId("retry-all");
  const dead = endpoints.deadOf(endpoint);
  all.hidden = dead === 0;
  text(all, `Retry all ${count(dead)}${endpoint === "" ? "" : ` of ${endpoint}`}`);
  sync(byId("dead-rows"), items, (item) => item.id, make, update);
  byId("dead-table").hidden = items.length === 0;
  byId("dead-empty").hidden = !loaded || items.length > 0;
  const first = (cursors.length - 1) * PAGE + 1;
  text(byId("dead-range"), items.length === 0 ? "" : `${count(first)}–${count(first + items.length - 1)}, newest first`);
  byId("dead-newer").disabled = cursors.length === 1;
  byId("dead-older").disabled = next === null;
}

function make(item) {
  const cell = (name, ...content) => h("td", { role: "cell", class: `c-${name}` }, ...content);
  const watch = item.task ? h("a", { class: "mono", href: hrefOf(item.source, item.task) }, item.task) : "–";
  const again = async (event) => {
    event.target.disabled = true;
    if (await retry(item)) await Promise.all([load(), endpoints.load()]);
    else event.target.disabled = false;
  };
  const says = `Retry delivery ${item.id} to ${item.endpoint}`;
  return h("tr", { role: "row" },
    cell("delivery", h("a", { class: "mono", href: `#/delivery/${item.id}` }, String(item.id))),
    cell("endpoint", receiver(item)), cell("event", item.type), cell("watch", watch),
    cell("reason", h("a", { href: `#/delivery/${item.id}` }, spoken(item.reason) || "no reason kept")),
    cell("attempts num"),
    cell("age num", h("time", { datetime: item.created_at, title: clock(item.created_at) })),
    cell("action num", h("button", { type: "button", "aria-label": says, click: again }, "Retry")));
}

function update(row, item) {
  text(row.cells[5], count(item.attempt));
  text(row.cells[6].firstChild, age(item.created_at));
}

async function retryAll() {
  const name = endpoint;
  const explanation = "They are sent in their order, with the same webhook-id as before.";
  const of = name === "" ? "" : ` of ${name}`;
  const question = `Retry ${plural(endpoints.deadOf(name), "dead letter")}${of}?`;
  if (!(await confirm(question, explanation, "Retry all"))) return;
  try {
    const reply = await call("POST", "v1/deliveries/retry", { body: name === "" ? {} : { endpoint: name } });
    tell(`${plural(reply.retried, "delivery", "deliveries")}${name === "" ? "" : ` to ${name}`} ${reply.retried === 1 ? "is" : "are"} sent again.`);
  } catch (error) {
    complain(`The dead letters${of} cannot be retried`, error);
  }
  await Promise.all([load(), endpoints.load()]);
}

async function turn(how) {
  how();
  await load();
  byId("view-dead").scrollIntoView({ block: "start" });
}

byId("retry-all").addEventListener("click", retryAll);
byId("dead-older").addEventListener("click", () => turn(() => cursors.push(next)));
byId("dead-newer").addEventListener("click", () => turn(() => cursors.pop()));
byId("d-endpoint").form.addEventListener("submit", (event) => event.preventDefault());
byId("d-endpoint").addEventListener("change", (event) => {
  location.hash = event.target.value === "" ? "#/dead" : `#/dead/${encodeURIComponent(event.target.value)}`;
});
