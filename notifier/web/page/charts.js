// Small line charts of the last minutes, drawn as SVG. A gap in the values is a gap in the line.

import { attr, draw, h, text } from "./dom.js";
import { clock, rate } from "./format.js";

const SPAN = 300; // seconds shown at most
const FIRST = 60; // seconds shown at first, so that a line of few points fills the chart
const GAP = 7; // seconds without a value that break the line; values come every 2 s
const WIDTH = 300;
const HEIGHT = 40;
const KEPT = "notifier.history"; // in sessionStorage, so that a reload of the page keeps the lines

const all = new Map(); // name -> Chart

/** One line; `write` formats a value. */
export class Chart {
  constructor(name, root, { title, write = rate }) {
    this.points = []; // [milliseconds since the epoch, value], oldest first
    this._title = title;
    this._write = write;
    this._at = null; // position of the pointer, 0 to 1
    this._area = h("path", { class: "area" });
    this._stroke = h("path", { class: "stroke" });
    this._mark = h("line", { class: "at", visibility: "hidden", y1: 0, y2: HEIGHT });
    const base = h("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT });
    const view = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title };
    this._svg = h("svg", view, base, this._area, this._stroke, this._mark);
    this._left = h("span");
    this._right = h("span");
    root.append(this._svg, h("p", { "aria-hidden": "true" }, this._left, this._right));
    this._svg.addEventListener("pointermove", (event) => this._point(event.offsetX / this._svg.clientWidth));
    this._svg.addEventListener("pointerleave", () => this._point(null));
    this._draw = () => this._render();
    this._name = name;
    all.set(name, this);
    this._recall();
  }

  /** Add the current value. */
  add(value) {
    const now = Date.now();
    this.points.push([now, value]);
    while (this.points[0][0] <= now - SPAN * 1000) this.points.shift();
    draw(`chart ${this._name}`, this._draw);
  }

  /** Return the seconds shown, a whole number of minutes. */
  _span(now) {
    const known = this.points.length === 0 ? 0 : (now - this.points[0][0]) / 1000;
    return Math.min(SPAN, Math.max(FIRST, Math.ceil(known / 60) * 60));
  }

  _point(at) {
    this._at = at;
    draw(`chart ${this._name}`, this._draw);
  }

  _render() {
    const now = Date.now();
    const span = this._span(now);
    const peak = this.points.reduce((most, [, value]) => Math.max(most, value), 0);
    const place = ([time, value]) => [
      (1 - (now - time) / (span * 1000)) * WIDTH,
      HEIGHT - 2 - (peak === 0 ? 0 : (value / peak) * (HEIGHT - 4)),
    ];
    const runs = unbroken(this.points).map((run) => run.map(place));
    attr(this._stroke, "d", runs.map(lineOf).join(""));
    attr(this._area, "d", runs.map((run) => `${lineOf(run)}V${HEIGHT}H${run[0][0].toFixed(1)}Z`).join(""));
    const pointed = this._at === null ? undefined : nearest(this.points, now - (1 - this._at) * span * 1000);
    const x = pointed === undefined ? 0 : place(pointed)[0];
    attr(this._mark, "visibility", pointed === undefined ? "hidden" : "visible");
    attr(this._mark, "x1", x);
    attr(this._mark, "x2", x);
    text(this._left, pointed === undefined ? `peak ${this._write(peak)}` : this._write(pointed[1]));
    text(this._right, pointed === undefined ? `${span / 60} min` : clock(pointed[0]));
    attr(this._svg, "aria-label", `${this._title}, recently: at most ${this._write(peak)}`);
  }

  _recall() {
    try {
      this.points = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}")[this._name] ?? [];
    } catch {
      this.points = []; // saved by another version of this page
    }
    if (this.points.length > 0) draw(`chart ${this._name}`, this._draw);
  }
}

/** Forget a chart whose element is gone. */
export const forget = (name) => all.delete(name);

function unbroken(points) {
  const runs = [];
  let last = -Infinity;
  for (const point of points) {
    if (point[0] - last > GAP * 1000) runs.push([]);
    runs.at(-1).push(point);
    last = point[0];
  }
  return runs;
}

const lineOf = (run) => `M${run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;

function nearest(points, time) {
  let best;
  for (const point of points) if (best === undefined || Math.abs(point[0] - time) < Math.abs(best[0] - time)) best = point;
  return best;
}

addEventListener("pagehide", () => {
  const kept = Object.fromEntries([...all].map(([name, chart]) => [name, chart.points]));
  sessionStorage.setItem(KEPT, JSON.stringify(kept));
});
