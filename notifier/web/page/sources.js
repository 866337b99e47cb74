// The sources: what each one follows, and what ails it, with what to do about it.

import { attr, byId, draw, h, icon, link, redraw, sync, text } from "./dom.js";
import { count, plural, spoken } from "./format.js";

const LOOKS = { // [word, class]
  ok: ["ok", "ok"], waiting: ["waiting", "paused"], failing: ["failing", "failing"], missing: ["not configured", "failing"],
};
const UNHEARD_OF = { following: 0, open: 0, waiting: 0, troubles: {}, unknown_states: [], lost_lately: {}, unheard: 0 };

let sources = [];

/** Show the sources as `v1/status` lists them, and those that only watches name: {name: open watches}. */
export function show(items, without) {
  const missing = Object.entries(without).map(([name, left]) => ({ ...UNHEARD_OF, name, left }));
  sources = [...items, ...missing];
  draw("sources", render);
}

function stateOf(source) {
  if (source.left > 0) return "missing";
  if (Object.keys(source.troubles).length > 0) return "failing";
  return source.waiting > 0 && source.open >= source.max_streams ? "waiting" : "ok";
}

function render() {
  sync(byId("source-list"), sources, (source) => source.name, make, update);
  byId("source-empty").hidden = sources.length > 0;
  const sick = sources.filter((source) => ["failing", "missing"].includes(stateOf(source))).length;
  const badge = byId("n-sources");
  const [shape, number, words] = badge.children;
  attr(shape, "hidden", sick === 0);
  text(number, count(sick === 0 ? sources.length : sick));
  text(words, sick === 0 ? "" : " in trouble");
  badge.classList.toggle("alarm", sick > 0);
}

function make({ name }) {
  const toOpen = () => h("a", { href: `#/watches?source=${encodeURIComponent(name)}&ended=false` });
  const number = (title) => {
    const value = h("dd");
    return { value, node: h("div", {}, h("dt", {}, title), value) };
  };
  const parts = {
    word: h("span", { class: "word" }, icon("ok"), h("span")),
    told: h("ul", { class: "told" }),
    numbers: ["Followed", "Streams", "Waiting", "In trouble"].map(number),
    followed: toOpen(),
    open: toOpen(),
    waiting: toOpen(),
    trouble: toOpen(),
    watches: h("a", { href: `#/watches?source=${encodeURIComponent(name)}` }, "Its watches"),
  };
  const node = h("li", { class: "endpoint" },
    h("div", {}, h("div", { class: "what" }, h("h3", {}, name))),
    parts.word, parts.told,
    h("dl", { class: "numbers" }, ...parts.numbers.map((one) => one.node)),
    h("div", { class: "row" }, parts.watches));
  node.parts = parts;
  return node;
}

function update({ parts }, source) {
  const [word, look] = LOOKS[stateOf(source)];
  attr(parts.word, "class", `word is-${look}`);
  redraw(parts.word.firstChild, look);
  text(parts.word.lastChild, word);
  const points = ailments(source);
  parts.told.hidden = points.length === 0;
  sync(parts.told, points, (point) => point, () => h("li"), text);
  const [followed, open, waiting, trouble] = parts.numbers.map((one) => one.value);
  link(followed, parts.followed, source.following, plural(source.following, "followed watch", "followed watches"));
  const sick = Object.values(source.troubles).reduce((sum, n) => sum + n, 0);
  const toList = "list the open watches of the source";
  link(open, parts.open, source.open, `${plural(source.open, "open stream", "open streams")}: ${toList}`);
  link(waiting, parts.waiting, source.waiting, `${plural(source.waiting, "waiting watch", "waiting watches")}: ${toList}`);
  link(trouble, parts.trouble, sick, `${plural(sick, "watch", "watches")} in trouble: ${toList}`);
}

const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;

/** List in sentences what needs attention. */
function ailments(source) {
  const points = [];
  if (source.left > 0) {
    points.push(`The configuration names no such source, so nobody follows ${plural(source.left, "open watch", "open watches")}. Name it again and reload, or remove them.`);
  }
  for (const [kind, n] of Object.entries(source.troubles)) {
    const words = source.errors[kind];
    const said = words ? `: ${words.error}${words.excerpt ? `; it sent ${words.excerpt}` : ""}. ${sentence(words.hint)}` : `: ${kind}.`;
    points.push(`${plural(n, "watch", "watches")} cannot be read${said}`);
  }
  if (stateOf(source) === "waiting") {
    points.push(`${plural(source.waiting, "watch waits", "watches wait")} for a free stream; max_streams is ${count(source.max_streams)}.`);
  }
  for (const state of source.unknown_states) {
    const running = [...source.running_states, state].map((one) => JSON.stringify(one)).join(", ");
    points.push(`The state “${state}” is in no list, and counts as running. List it where it belongs, such as states: {running: [${running}]}.`);
  }
  const lost = Object.entries(source.lost_lately);
  if (lost.length > 0) {
    const n = lost.reduce((sum, [, some]) => sum + some, 0);
    const reasons = lost.map(([reason, some]) => `${count(some)} ${spoken(reason)}`).join(", ");
    points.push(`${plural(n, "watch was", "watches were")} given up in the last 24 hours (${reasons}). One that is removed counts no longer.`);
  }
  if (source.unheard > 0) {
    points.push(`No endpoint receives the events of ${plural(source.unheard, "watch", "watches")}.`);
  }
  return points;
}
