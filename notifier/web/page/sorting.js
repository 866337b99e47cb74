// Sorts the rows of a table by a column: those of the page that is shown, since the server pages by age alone.

import { attr, h } from "./dom.js";

const collator = new Intl.Collator("en", { numeric: true });
const TURN = { none: "ascending", ascending: "descending", descending: "none" };

/**
 * Make a table sortable. `columns` has for each column what its cell is sorted by, a function of an item that returns
 * a number, a text or null, which comes last; null: the column sorts nothing. `changed` is called after a choice.
 */
export function sortable(table, columns, changed) {
  const heads = [...table.tHead.rows[0].cells];
  let chosen = null; // the place of a column, or null: the order of the server
  let down = false;
  heads.forEach((head, place) => {
    if (columns[place] === null) return;
    const button = h("button", { type: "button", class: "sort", click: () => choose(place) }, head.textContent);
    head.replaceChildren(button);
    attr(head, "aria-sort", "none");
  });

  function choose(place) {
    const turn = TURN[heads[place].getAttribute("aria-sort")];
    for (const [other, head] of heads.entries()) if (columns[other] !== null) attr(head, "aria-sort", "none");
    attr(heads[place], "aria-sort", turn);
    chosen = turn === "none" ? null : place;
    down = turn === "descending";
    changed();
  }

  return {
    /** Return the items in the order that was chosen. */
    apply(items) {
      if (chosen === null) return items;
      const of = columns[chosen];
      return [...items].sort((one, other) => compare(of(one), of(other), down));
    },
    /** Say in what order they are, or return null for the server's. */
    words: () => (chosen === null ? null : `this page by ${heads[chosen].textContent.toLowerCase()}`),
  };
}

function compare(one, other, down) {
  if (one === null || other === null) return (one === null) - (other === null);
  const order = typeof one === "number" ? one - other : collator.compare(one, other);
  return down ? -order : order;
}
