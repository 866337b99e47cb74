// A delivery and its attempts, in the timeline of a watch and on its own.

import { call, path } from "./api.js";
import { attr, h, icon, redraw, sync, text } from "./dom.js";
import { stateOf } from "./endpoints.js";
import { clock, duration, plural, secondsBetween, spoken } from "./format.js";
import { complain, tell } from "./toasts.js";

const OUTCOME_LOOK = { delivered: "delivered", failed: "retrying", rejected: "dead", gone: "dead" };

/** Return the name of a delivery's endpoint; a watch's own callback is named by its host. */
export const receiver = (delivery) => delivery.callback ?? delivery.endpoint;

/** Retry a dead delivery. Returns whether that succeeded. */
export async function retry(delivery) {
  try {
    await call("POST", path("deliveries", delivery.id, "retry"));
    tell(`Delivery ${delivery.id} to ${receiver(delivery)} is sent again.`);
    return true;
  } catch (error) {
    complain(`Delivery ${delivery.id} cannot be retried`, error);
    return false;
  }
}

/** Create a line that opens to show the attempts, and loads them when it opens. */
export function makeDelivery(delivery, changed) {
  const word = h("span", { class: "word" }, icon(delivery.status), h("span"));
  const about = h("span", { class: "muted" });
  const list = h("ol", { class: "attempts", "aria-label": `Attempts at ${receiver(delivery)}` });
  const again = h("button", { type: "button", click: async () => (await retry(delivery)) && changed() }, "Retry");
  const summary = h("summary", {}, word, h("b", {}, receiver(delivery)), about);
  const node = h("details", {}, summary, list, h("div", { class: "attempts" }, again));
  node.parts = { word, about, list, again, seen: "" };
  node.addEventListener("toggle", () => node.open && fill(node, delivery.id));
  return node;
}

/** Show the state of a delivery. */
export function updateDelivery(node, delivery, since) {
  const { word, about, again } = node.parts;
  attr(word, "class", `word is-${delivery.status}`);
  redraw(word.firstChild, delivery.status);
  text(word.lastChild, delivery.status);
  text(about, describe(delivery, since));
  again.parentElement.hidden = delivery.status !== "dead";
  const seen = `${delivery.status} ${delivery.attempt} ${delivery.due}`;
  if (node.open && node.parts.seen !== seen) fill(node, delivery.id);
  node.parts.seen = seen;
}

/** Tell of the attempts at a delivery of an event of the time `since`, and what comes next. */
export function describe(delivery, since) {
  const none = delivery.status === "waiting" ? "waits for the event before it" : "no attempt yet";
  const parts = [delivery.attempt === 0 ? none : plural(delivery.attempt, "attempt")];
  if (delivery.status === "delivered" && delivery.settled_at) {
    if (delivery.attempt === 0) parts.pop();
    parts.push(`${duration(secondsBetween(since, delivery.settled_at))} after the event`);
  } else if (delivery.reason) parts.push(spoken(delivery.reason));
  if (delivery.status === "ready") parts.push(next(delivery));
  if (delivery.manual) parts.push("retried by hand");
  return parts.filter(Boolean).join(" · ");
}

/** Tell when a delivery is tried: at its time, or once its endpoint accepts something again; null: at once. */
function next(delivery) {
  const endpoint = stateOf(delivery.endpoint);
  const held = { failing: "accepts something again", paused: "ends its pause", disabled: "is enabled" }[endpoint?.state];
  if (held) return `waits until ${receiver(delivery)} ${held}`;
  return delivery.attempt > 0 ? `next at ${clock(delivery.due)}` : null;
}

async function fill(node, id) {
  try {
    showAttempts(node.parts.list, (await call("GET", path("deliveries", id))).attempts ?? []);
  } catch (error) {
    complain(`The attempts at delivery ${id} cannot be read`, error);
  }
}

/** Show attempts, oldest first. */
export function showAttempts(list, attempts) {
  if (attempts.length === 0) list.replaceChildren(h("li", { class: "muted" }, "No attempt yet."));
  else list.replaceChildren(...attempts.map(makeAttempt));
}

function makeAttempt(attempt) {
  const words = [attempt.outcome, attempt.status ? `HTTP ${attempt.status}` : null, duration(attempt.seconds)];
  if (!attempt.status && attempt.reason) words.splice(1, 1, spoken(attempt.reason));
  const phases = Object.entries(attempt.phases ?? {}).map(([name, seconds]) => `${spoken(name)} ${duration(seconds)}`);
  if (attempt.address) phases.push(`to ${attempt.address}`);
  const look = OUTCOME_LOOK[attempt.outcome];
  return h("li", {},
    h("div", { class: "row" },
      h("span", { class: `word is-${look}` }, icon(look), words.filter(Boolean).join(" · ")),
      h("time", { class: "muted", datetime: attempt.at, title: attempt.at }, clock(attempt.at))),
    attempt.detail ? h("p", { class: "muted" }, attempt.detail) : null,
    phases.length > 0 ? h("p", { class: "muted" }, phases.join(", ")) : null,
    attempt.reply ? h("pre", { tabindex: "0", "aria-label": "The reply" }, attempt.reply) : null);
}

/** Fill a list of deliveries. */
export function showDeliveries(place, deliveries, since, changed) {
  const update = (node, one) => updateDelivery(node, one, since);
  sync(place, deliveries, (one) => one.id, (one) => makeDelivery(one, changed), update);
}
