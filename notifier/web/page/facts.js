// A list of names and values for panels. Rows whose value is null are left out.

import { h, sync } from "./dom.js";

/** Show `[[name, value], ...]`; a value is text or a node. */
export function showFacts(list, facts) {
  const rows = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const cells = rows.flatMap(([name, value]) => [["dt", name, name], ["dd", name, value]]);
  sync(list, cells, ([tag, name]) => `${tag} ${name}`, ([tag]) => h(tag), (node, [, , value]) => {
    if (value instanceof Node) {
      if (node.firstChild === null || !node.firstChild.isEqualNode?.(value)) node.replaceChildren(value);
    } else if (node.textContent !== value) node.textContent = value;
  });
}

const SHORT = 40; // characters that fit on a line of the panel

/** Return readable JSON, or null for an empty value. */
export function pretty(value) {
  if (value === null || value === undefined) return null;
  const line = JSON.stringify(value, null, 1).replaceAll(/\n */g, " ");
  return line.length <= SHORT ? line : JSON.stringify(value, null, 2);
}
