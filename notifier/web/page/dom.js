// Creates and changes elements. Law: data enters the document as text or as an attribute's value, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "use", "path", "line", "rect"]);
const children = new WeakMap(); // parent -> Map of key -> child, of `sync`
const whole = new Intl.NumberFormat("en");
const waiting = new Map(); // name -> function to call in the next frame

/** Create an element. A function is a listener; null and false leave an attribute out; true sets it empty. */
export function h(tag, attributes = {}, ...content) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else attr(node, name, value);
  }
  node.append(...content.flat().filter((part) => part !== null && part !== undefined && part !== false));
  return node;
}

/** Set an attribute if it differs; null and false remove it. */
export function attr(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else {
    const text = value === true ? "" : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

/** Set the text if it differs: an equal write would cost a layout and be read aloud again. */
export function text(node, value) {
  const wanted = value === null || value === undefined ? "" : String(value);
  if (node.textContent !== wanted) node.textContent = wanted;
}

export const byId = (id) => document.getElementById(id);

/** Draw a shape of index.html; screen readers read the word beside it instead. */
export function icon(name, extra = "") {
  return h("svg", { class: `icon ${extra}`, "aria-hidden": "true", focusable: "false" }, h("use", { href: `#i-${name}` }));
}

/** Show a number by a link to what it counts, with a name for screen readers; 0 leads nowhere. */
export function link(place, anchor, number, name) {
  if (number === 0) return text(place, "0");
  text(anchor, whole.format(number));
  attr(anchor, "aria-label", name);
  if (anchor.parentNode !== place) place.replaceChildren(anchor);
}

/** Change the shape of an icon. */
export function redraw(node, name) {
  attr(node.firstChild, "href", `#i-${name}`);
}

/**
 * Make a parent's children agree with items, by key. A node whose key stays is kept, and is moved only where the order
 * demands it, so that focus, selection and open details survive an update.
 */
export function sync(parent, items, keyOf, make, update) {
  const old = children.get(parent) ?? new Map();
  const now = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const node = old.get(key) ?? make(item);
    now.set(key, node);
    update(node, item);
  }
  for (const [key, node] of old) if (!now.has(key)) node.remove();
  let at = parent.firstChild;
  for (const node of now.values()) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  children.set(parent, now);
}

/** Call a function in the next frame, once for any number of requests. A hidden page draws nothing. */
export function draw(name, how) {
  if (waiting.size === 0) requestAnimationFrame(flush);
  waiting.set(name, how);
}

function flush() {
  const now = [...waiting.values()];
  waiting.clear();
  for (const how of now) how();
}

/** Call `act` at most every `pause` milliseconds; the last call is never dropped. */
export function throttle(act, pause) {
  let timer = null;
  let last = -Infinity;
  const run = () => {
    timer = null;
    last = performance.now();
    act();
  };
  return () => {
    timer ??= setTimeout(run, Math.max(0, last + pause - performance.now()));
  };
}
