// The nodes that share the store: the state of each one and its share of the work. Shown if there are several.

import { attr, byId, draw, h, icon, redraw, sync, text } from "./dom.js";
import { clock, count, duration, plural, rate, secondsBetween } from "./format.js";

const MEANING = { // state -> [word, shape, class, explanation]
  alive: ["alive", "ok", "ok", ""],
  unready: ["not ready", "failing", "failing", "It cannot work for now."],
  leaving: ["leaving", "waiting", "waiting", "It has released its watches, finishes its deliveries in flight, and stops."],
  dead: ["dead", "dead", "dead", "No heartbeat. The other nodes take over its watches and deliveries."],
  unknown: ["unknown", "new", "new", "The node that shows this page has lost contact with the store."],
};

let nodes = [];

/** Show the nodes as the API lists them. */
export function show(items) {
  const byName = (one, other) => one.name.localeCompare(other.name, "en", { numeric: true }) || one.number - other.number;
  nodes = [...items].sort(byName);
  draw("nodes", render);
}

function stateOf(node) {
  if (node.alive === null) return "unknown";
  if (!node.alive) return "dead";
  if (node.leaving) return "leaving";
  return node.ready === false ? "unready" : "alive";
}

function render() {
  const sick = nodes.filter((node) => stateOf(node) !== "alive").length;
  byId("to-nodes").hidden = nodes.length < 2;
  const badge = byId("n-nodes");
  const [shape, number, words] = badge.children;
  attr(shape, "hidden", sick === 0);
  text(number, count(sick === 0 ? nodes.length : sick));
  text(words, sick === 0 ? "" : " not alive");
  badge.classList.toggle("alarm", sick > 0);
  const versions = new Set(nodes.map((node) => node.version)).size;
  const all = nodes.reduce((sum, node) => sum + node.watches, 0);
  text(byId("node-sum"), `${plural(nodes.length, "node")} ${nodes.length === 1 ? "follows" : "share"} ${plural(all, "watch", "watches")}${versions > 1 ? `, in ${versions} versions` : ""}.`);
  const now = nodes.find((node) => node.this)?.seen_at; // by the clock of the nodes: the browser's may be another
  sync(byId("node-list"), nodes, (node) => String(node.number), make, (card, node) => update(card, node, all, now));
}

function make(node) {
  const number = (title) => {
    const value = h("dd");
    return { value, node: h("div", {}, h("dt", {}, title), value) };
  };
  const parts = {
    word: h("span", { class: "word" }, icon("new"), h("span")),
    here: h("span", { class: "chip", hidden: true }, "answers this page"),
    where: h("p", { class: "where" }),
    told: h("p", { class: "told" }),
    numbers: ["Watches", "Streams", "Sending", "Events/s"].map(number),
    bar: h("div", { class: "phase-bar", "aria-hidden": "true" }, h("span", { class: "is-running" }), h("span", { class: "rest" })),
    since: h("p", { class: "where" }),
  };
  const card = h("li", { class: "endpoint" },
    h("div", {}, h("div", { class: "row" }, h("h3", {}, node.name), parts.here), parts.where),
    parts.word, parts.told,
    h("dl", { class: "numbers" }, ...parts.numbers.map((one) => one.node)),
    parts.bar, parts.since);
  card.parts = parts;
  return card;
}

function update({ parts }, node, all, now) {
  const [word, shape, look, meaning] = MEANING[stateOf(node)];
  attr(parts.word, "class", `word is-${look}`);
  redraw(parts.word.firstChild, shape);
  text(parts.word.lastChild, word);
  parts.here.hidden = !node.this;
  text(parts.told, [meaning, node.reason ? `Reason: ${node.reason}.` : ""].filter(Boolean).join(" "));
  parts.told.hidden = parts.told.textContent === "";
  text(parts.where, [node.http, node.host && `${node.host}, process ${node.pid}`].filter(Boolean).join(" · "));
  const known = (value, write = count) => (value === null ? "–" : write(value));
  const [watches, streams, sending, events] = parts.numbers.map((one) => one.value);
  text(watches, count(node.watches));
  text(streams, known(node.streams));
  text(sending, known(node.deliveries));
  text(events, known(node.events_per_second, rate));
  const [share, rest] = parts.bar.children;
  share.style.flexGrow = String(node.watches); // by script: the page's policy forbids style attributes
  rest.style.flexGrow = String(Math.max(all - node.watches, node.watches === 0 ? 1 : 0));
  const silent = secondsBetween(node.seen_at, now);
  const seen = node.this || silent < 3 ? "" : ` · last heartbeat ${duration(silent)} ago`;
  text(parts.since, `${node.version} · since ${clock(node.started_at)}${seen}`);
}
