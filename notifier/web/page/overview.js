// The overview: watches by phase, open streams, rates. Fed by the stream's summaries.

import { Chart } from "./charts.js";
import { byId, draw, h, icon, sync, text } from "./dom.js";
import { count, MEANING, PHASES, plural, rate } from "./format.js";

const OPEN = ["new", "queued", "running"]; // phases of watches that go on
const SPEAK_EVERY = 30_000; // milliseconds between summaries that a screen reader reads aloud

const charts = {
  streams: new Chart("streams", byId("chart-streams"), { title: "Streams open", write: count }),
  events: new Chart("events", byId("chart-events"), { title: "Events per second" }),
  deliveries: new Chart("deliveries", byId("chart-deliveries"), { title: "Deliveries per second" }),
};
let phases = {}; // phase -> count over all sources
let spoken = { at: 0, words: "" };

/** Show a summary: {watches: {source: {phase: n}}, streams_open, watches_waiting, lost_lately, ...rates}. */
export function show(summary) {
  phases = Object.fromEntries(PHASES.map((phase) => [phase, 0]));
  for (const counts of Object.values(summary.watches)) {
    for (const [phase, n] of Object.entries(counts)) phases[phase] = (phases[phase] ?? 0) + n;
  }
  charts.streams.add(summary.streams_open);
  charts.events.add(summary.events_per_second);
  charts.deliveries.add(summary.deliveries_per_second);
  draw("overview", () => {
    text(byId("streams"), count(summary.streams_open));
    text(byId("streams-unit"), summary.watches_waiting > 0 ? `open, ${count(summary.watches_waiting)} waiting` : "open");
    text(byId("n-lost").children[1], count(summary.lost_lately));
    byId("n-lost").hidden = summary.lost_lately === 0;
    text(byId("events"), rate(summary.events_per_second));
    text(byId("deliveries"), rate(summary.deliveries_per_second));
    drawPhases();
  });
}

function drawPhases() {
  const total = Object.values(phases).reduce((sum, n) => sum + n, 0);
  text(byId("total"), count(total));
  text(byId("n-watches"), count(OPEN.reduce((sum, phase) => sum + (phases[phase] ?? 0), 0)));
  const present = Object.entries(phases).filter(([, n]) => n > 0);
  const makePart = ([phase]) => h("span", { class: `is-${phase}` });
  sync(byId("phase-bar"), present, ([phase]) => phase, makePart, (part, [, n]) => {
    part.style.flexGrow = String(n); // by script: the page's policy forbids style attributes
  });
  sync(byId("phase-list"), present, ([phase]) => phase, makePhase, (item, [, n]) => text(item.querySelector("b"), count(n)));
  speak(present, total);
}

function makePhase([phase]) {
  const shape = h("span", { class: `is-${phase}` }, icon(phase));
  return h("li", {}, h("a", { href: `#/watches?phase=${phase}`, title: MEANING[phase] }, shape, `${phase} `, h("b")));
}

function speak(present, total) {
  const words = `${plural(total, "watch", "watches")}: ${present.map(([phase, n]) => `${n} ${phase}`).join(", ")}`;
  const now = Date.now();
  if (words === spoken.words || now - spoken.at < SPEAK_EVERY) return;
  if (spoken.at !== 0) text(byId("spoken"), words); // the first one is read in its place
  spoken = { at: now, words };
}
