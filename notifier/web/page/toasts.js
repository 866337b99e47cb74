// Short messages about results and errors, also for screen readers. An error stays until it is dismissed.

import { byId, h, icon } from "./dom.js";

const MOST = 4; // shown at a time; the oldest goes first
const LINGER = 6000; // milliseconds that a result stays

/** Show a result. */
export function tell(message) {
  const toast = show(byId("told"), "toast", message);
  setTimeout(() => toast.remove(), LINGER);
}

/** Show an error. Aborted calls are not shown, and the top of the page asks for a missing token. */
export function complain(doing, error) {
  if (error.name === "AbortError" || error.status === 401) return;
  const parts = [`${doing}: ${error.message}`, ...(error.problems ?? [])];
  show(byId("alerts"), "toast bad", parts.join("\n"));
}

function show(place, kind, message) {
  for (const same of [...place.children].filter((toast) => toast.firstChild.textContent === message)) same.remove();
  while (place.children.length >= MOST) place.firstChild.remove();
  const dismiss = () => toast.remove();
  const close = h("button", { type: "button", class: "square", "aria-label": "Dismiss", click: dismiss }, icon("close"));
  const toast = h("div", { class: kind }, h("p", {}, message), close);
  place.append(toast);
  return toast;
}
