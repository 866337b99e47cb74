// Shows whether the page is current: the word and the shape at the top, with the buttons that help.

import { attr, byId, redraw, text } from "./dom.js";

const SHAPE = { connecting: "connecting", live: "live", waiting: "retrying", locked: "locked" };
const WORD = { connecting: "connecting", live: "live", waiting: "reconnecting", locked: "token needed" };

let state = { name: "connecting" };

/** Show a state of the stream: {name, reason, until}. */
export function show(next) {
  if (next.name === "connecting" && state.name === "waiting") return; // another attempt in the same outage: no flicker
  state = next;
  render();
}

function render() {
  const pill = byId("connection");
  attr(pill, "data-state", state.name);
  attr(document.body, "data-connection", state.name); // the figures may be old, and are dimmed
  attr(pill, "class", `pill is-${SHAPE[state.name]}`);
  attr(pill, "title", state.reason ?? "");
  redraw(pill.firstElementChild, SHAPE[state.name]);
  text(byId("connection-word"), WORD[state.name]); // read aloud; the seconds beside it are not
  const seconds = Math.ceil(((state.until ?? 0) - Date.now()) / 1000);
  text(byId("connection-more"), state.name === "waiting" && seconds > 0 ? `in ${seconds} s` : "");
  byId("retry-now").hidden = state.name !== "waiting";
  byId("unlock").hidden = state.name !== "locked";
}

setInterval(() => state.name === "waiting" && render(), 1000);
