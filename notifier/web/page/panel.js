// The side panel: opens for an address, and returns the focus when it closes. Other modules fill it.

import { byId, text } from "./dom.js";

let opener = null; // the element that had the focus
let leave = () => {};

/** Open it with a title; `onLeave` is called when other content replaces it. Returns the element for the content. */
export function open(kind, title, onLeave) {
  leave();
  leave = onLeave;
  const panel = byId("panel");
  if (panel.hidden) opener = document.activeElement;
  text(byId("panel-kind"), kind);
  text(byId("panel-title"), title);
  panel.hidden = false;
  document.body.classList.add("with-panel");
  const body = byId("panel-body");
  body.replaceChildren();
  body.scrollTop = 0;
  byId("panel-title").focus({ preventScroll: true });
  document.title = `${title} · notifier`;
  return body;
}

/** Close it, if it is open. */
export function close() {
  const panel = byId("panel");
  if (panel.hidden) return;
  leave();
  leave = () => {};
  const inside = panel.contains(document.activeElement) || document.activeElement === document.body;
  panel.hidden = true;
  document.body.classList.remove("with-panel");
  document.title = "notifier";
  if (inside) (opener?.isConnected && opener !== document.body ? opener : byId("main")).focus({ preventScroll: true });
}

export const isOpen = () => !byId("panel").hidden;
