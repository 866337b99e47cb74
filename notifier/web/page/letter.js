// One delivery in the panel: its attempts and its payload.

import { call, path } from "./api.js";
import { receiver, retry, showAttempts } from "./deliveries.js";
import { attr, h, icon, redraw, text } from "./dom.js";
import { pretty, showFacts } from "./facts.js";
import { clock, spoken } from "./format.js";
import * as panel from "./panel.js";
import { hrefOf } from "./watches.js";

let shown = null;

/** Open the panel for a delivery. */
export function open(id) {
  if (shown?.id === id) return;
  const body = panel.open("Delivery", id, () => {
    shown = null;
  });
  shown = { id, ...build(body) };
  load();
}

/** Load it again while it is pending; called every few seconds. */
export function tick() {
  if (shown?.delivery && ["ready", "waiting"].includes(shown.delivery.status)) load();
}

function build(body) {
  const word = h("span", { class: "word" }, icon("ready"), h("span"));
  const retryIt = async () => (await retry(shown.delivery)) && load();
  const again = h("button", { type: "button", hidden: true, click: retryIt }, "Retry");
  const facts = h("dl", { class: "facts" });
  const attempts = h("ol", { class: "attempts" });
  const payload = h("pre", { tabindex: "0", "aria-label": "What is sent" });
  const lead = h("div", { class: "lead" }, word, h("span", { class: "grow" }), again);
  body.append(lead, facts, h("h3", {}, "Attempts"), attempts, h("h3", {}, "What is sent"), payload);
  return { body, word, again, facts, attempts, payload };
}

async function load() {
  const mine = shown;
  try {
    const delivery = await call("GET", path("deliveries", mine.id));
    if (mine === shown) show(mine, delivery);
  } catch (error) {
    if (mine === shown) mine.body.replaceChildren(h("p", { class: "wrong" }, error.message));
  }
}

function show(parts, delivery) {
  parts.delivery = delivery;
  attr(parts.word, "class", `word is-${delivery.status}`);
  redraw(parts.word.firstChild, delivery.status);
  text(parts.word.lastChild, delivery.status);
  parts.again.hidden = delivery.status !== "dead";
  showFacts(parts.facts, [
    ["Endpoint", receiver(delivery)],
    ["Event", delivery.type],
    ["Watch", delivery.task ? h("a", { href: hrefOf(delivery.source, delivery.task), class: "mono" }, delivery.task) : null],
    ["Reason", spoken(delivery.reason)],
    ["Created", clock(delivery.created_at)],
    ["Settled", delivery.settled_at ? clock(delivery.settled_at) : null],
    ["Next try", delivery.due && !delivery.settled_at ? clock(delivery.due) : null],
    ["webhook-id", h("code", {}, delivery.event_id)],
  ]);
  showAttempts(parts.attempts, delivery.attempts ?? []);
  text(parts.payload, pretty(delivery.payload));
}
