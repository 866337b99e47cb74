// The endpoints: the state of each one, its pending deliveries, and its buttons.

import { call, path } from "./api.js";
import { Chart, forget } from "./charts.js";
import { confirm } from "./dialogs.js";
import { attr, byId, draw, h, icon, link, redraw, sync, text } from "./dom.js";
import { age, clock, count, duration, plural, spoken } from "./format.js";
import { complain, tell } from "./toasts.js";

const MEANING = {
  ok: ["ok", "It accepts what is sent."],
  slowed: ["slowed", "It refuses a share of what is sent. Refused deliveries are tried again by the schedule."],
  paused: ["paused", "It asked for a pause, or cannot be reached from here. Sending goes on after it."],
  failing: ["failing", "It accepts nothing. It is probed from time to time."],
  disabled: ["disabled", "Nothing is sent. Its deliveries are kept, and sent when it is enabled."],
};

let endpoints = [];

export const names = () => endpoints.map((endpoint) => endpoint.name);
const sum = (name, key) => endpoints.filter((one) => name === "" || one.name === name).reduce((n, one) => n + one[key], 0);
/** Return the number of pending or dead deliveries of an endpoint; "": of all. */
export const pendingOf = (name) => sum(name, "pending");
export const deadOf = (name) => sum(name, "dead");
/** Return the state of an endpoint, and the reason; null: it is no endpoint of the configuration. */
export const stateOf = (name) => endpoints.find((endpoint) => endpoint.name === name) ?? null;

/** Show the endpoints as the API or the stream lists them; the stream leaves out what does not change. */
export function show(items) {
  const kept = new Set(items.map((item) => item.name));
  for (const { name } of endpoints) if (!kept.has(name)) forget(`endpoint ${name}`);
  const before = new Map(endpoints.map(({ name, type, url }) => [name, { type, url }]));
  endpoints = items.map((item) => ({ ...before.get(item.name), ...item }));
  draw("endpoints", render);
}

/** Fetch them now. */
export async function load() {
  try {
    show((await call("GET", "v1/endpoints")).items);
  } catch (error) {
    complain("The endpoints cannot be listed", error);
  }
}

function render() {
  sync(byId("endpoint-list"), endpoints, (endpoint) => endpoint.name, make, update);
  byId("endpoint-empty").hidden = endpoints.length > 0;
  const sick = endpoints.filter((endpoint) => !["ok", "slowed"].includes(endpoint.state)).length;
  const dead = deadOf("");
  const badge = byId("n-endpoints");
  const [shape, number, words] = badge.children;
  attr(shape, "hidden", sick === 0);
  text(number, sick === 0 ? count(endpoints.length) : count(sick));
  text(words, sick === 0 ? "" : " not sending");
  badge.classList.toggle("alarm", sick > 0);
  attr(byId("n-dead").firstChild, "hidden", dead === 0);
  text(byId("n-dead").lastChild, `${count(dead)} dead`);
  byId("n-dead").hidden = dead === 0;
  byId("n-dead").classList.toggle("alarm", dead > 0);
}

function make({ name }) {
  const number = (title) => {
    const value = h("dd");
    return { value, node: h("div", {}, h("dt", {}, title), value) };
  };
  const parts = {
    word: h("span", { class: "word" }, icon("ok"), h("span")),
    where: h("p", { class: "where" }),
    told: h("p", { class: "told" }),
    numbers: ["Pending", "Oldest", "Sending", "Dead"].map(number),
    toggle: h("button", { type: "button", click: () => toggle(name) }),
    test: h("button", { type: "button", "aria-label": `Test ${name}`, click: () => test(name, parts) }, "Test"),
    pending: h("a", { href: `#/deliveries?status=pending&endpoint=${encodeURIComponent(name)}` }),
    dead: h("a", { href: `#/deliveries?status=dead&endpoint=${encodeURIComponent(name)}` }),
    all: h("a", { href: `#/deliveries?endpoint=${encodeURIComponent(name)}` }, "Its deliveries"),
    result: h("div", { class: "result", role: "status", hidden: true }),
    place: h("div", { class: "chart" }),
  };
  parts.chart = new Chart(`endpoint ${name}`, parts.place, { title: `Pending for ${name}`, write: count });
  const node = h("li", { class: "endpoint" },
    h("div", {}, h("div", { class: "what" }, h("h3", {}, name)), parts.where),
    parts.word, parts.told,
    h("dl", { class: "numbers" }, ...parts.numbers.map((one) => one.node)),
    parts.place, parts.result,
    h("div", { class: "row" }, parts.test, parts.toggle, parts.all));
  node.parts = parts;
  return node;
}

function update(node, endpoint) {
  const { parts } = node;
  const off = endpoint.state === "disabled";
  attr(parts.word, "class", `word is-${endpoint.state}`);
  redraw(parts.word.firstChild, endpoint.state);
  const [word, meaning] = MEANING[endpoint.state];
  text(parts.word.lastChild, word);
  const known = endpoint.state !== "ok" || endpoint.last_success !== null;
  const reason = endpoint.reason && endpoint.reason !== endpoint.last_error && `Reason: ${spoken(endpoint.reason)}.`;
  const tried = endpoint.in_flight > 0 || endpoint.last_failure !== null;
  const none = `No delivery was ${tried ? "accepted" : "sent to it"} since the daemon started.`;
  const told = known ? meaning : none;
  text(parts.told, [told, reason, ...history(endpoint)].filter(Boolean).join(" "));
  text(parts.where, [endpoint.type, endpoint.url].filter(Boolean).join(" · "));
  const [pending, oldest, sending, dead] = parts.numbers.map((one) => one.value);
  link(pending, parts.pending, endpoint.pending, plural(endpoint.pending, "pending delivery", "pending deliveries"));
  text(oldest, endpoint.pending > 0 ? duration(endpoint.oldest_seconds).split(" ").slice(0, 2).join(" ") : "–");
  text(sending, count(endpoint.in_flight));
  link(dead, parts.dead, endpoint.dead, plural(endpoint.dead, "dead delivery", "dead deliveries"));
  text(parts.toggle, off ? "Enable" : "Disable");
  attr(parts.toggle, "aria-label", `${off ? "Enable" : "Disable"} ${endpoint.name}`);
  attr(parts.toggle, "class", off ? "primary" : null);
  if (parts.heard !== endpoint) parts.chart.add(endpoint.pending);
  parts.heard = endpoint;
}

/** Tell what attempts met lately, and when the next one is made. */
function history(endpoint) {
  const { state } = endpoint;
  return [
    state === "failing" && endpoint.failing_since && `Nothing accepted since ${clock(endpoint.failing_since)}.`,
    endpoint.last_success && `Last success ${age(endpoint.last_success)} ago.`,
    endpoint.last_error && `Last error ${age(endpoint.last_failure)} ago: ${endpoint.last_error}.`,
    state !== "disabled" && endpoint.next_attempt && Date.parse(endpoint.next_attempt) > Date.now() && `Next attempt at ${clock(endpoint.next_attempt)}.`,
  ];
}

async function toggle(name) {
  const off = endpoints.find((endpoint) => endpoint.name === name)?.state === "disabled";
  const explanation = "Nothing is sent to it until it is enabled again. Its deliveries are kept.";
  if (!off && !(await confirm(`Disable ${name}?`, explanation, "Disable"))) return;
  try {
    await call("POST", path("endpoints", name, off ? "enable" : "disable"));
    tell(`${name} is ${off ? "enabled" : "disabled"}.`);
  } catch (error) {
    complain(`${name} cannot be ${off ? "enabled" : "disabled"}`, error);
  }
  await load();
}

async function test(name, parts) {
  const { result, test: button } = parts;
  button.disabled = true;
  result.hidden = false;
  text(result, "Sending a test event …");
  try {
    const reply = await call("POST", path("endpoints", name, "test"));
    const well = reply.outcome === "delivered";
    const words = [reply.outcome, reply.status ? `HTTP ${reply.status}` : spoken(reply.reason), duration(reply.seconds)];
    const look = well ? "delivered" : "dead";
    result.replaceChildren(
      h("span", { class: `word is-${look}` }, icon(look), `Test: ${words.filter(Boolean).join(" · ")}`),
      reply.detail ? h("p", { class: "muted" }, reply.detail) : "");
  } catch (error) {
    result.hidden = true;
    complain(`${name} cannot be tested`, error);
  } finally {
    button.disabled = false;
  }
}
