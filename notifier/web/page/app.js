// Assembles the page: addresses to views, the stream to the modules that show it, keys to actions.

import * as addwatch from "./addwatch.js";
import { call, forgetToken, hasToken, whenRefused } from "./api.js";
import * as connection from "./connection.js";
import { askToken } from "./dialogs.js";
import { attr, byId, text, throttle } from "./dom.js";
import * as endpoints from "./endpoints.js";
import * as filters from "./filters.js";
import { duration } from "./format.js";
import * as letter from "./letter.js";
import * as nodes from "./nodes.js";
import * as outbox from "./outbox.js";
import * as overview from "./overview.js";
import * as panel from "./panel.js";
import * as sieve from "./sieve.js";
import * as sources from "./sources.js";
import { follow } from "./stream.js";
import * as timeline from "./timeline.js";
import { complain } from "./toasts.js";
import * as watches from "./watches.js";

const VIEWS = ["watches", "sources", "endpoints", "nodes", "deliveries"];
const STATUS_EVERY = 15_000; // milliseconds between readings of values that the stream does not send: version, readiness

let view = null; // the view behind the panel
let behind = "#/watches"; // the address after the panel is closed

// -- addresses: #/watches?FILTERS  #/sources  #/endpoints  #/nodes  #/deliveries?FILTERS  #/watch/SOURCE/ID
// #/delivery/ID. #/watches/SOURCE/ID and #/deliveries/ID, as in the API, lead to the same; #/dead[/ENDPOINT] was the place
// of dead deliveries, and still leads to them

function route() {
  const [place, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [first, ...rest] = place.split("/").map(decode);
  const name = rest.length === 0 ? first : ({ watches: "watch", deliveries: "delivery" }[first] ?? first);
  if (name === "watch" && rest.length >= 2) {
    if (view === null) show("watches", "");
    watches.mark(watches.keyOf({ source: rest[0], id: rest.slice(1).join("/") }));
    timeline.open(rest[0], rest.slice(1).join("/"));
  } else if (name === "delivery" && rest.length === 1) {
    if (view === null) show("deliveries", "");
    watches.mark(null);
    letter.open(rest[0]);
  } else {
    watches.mark(null);
    panel.close();
    if (["sources", "endpoints", "nodes"].includes(name)) show(name);
    else if (name === "deliveries") show(name, query);
    else if (name === "dead") {
      show("deliveries", `status=dead&endpoint=${encodeURIComponent(rest[0] ?? "")}`);
      history.replaceState(null, "", sieve.address());
    }
    else {
      if (!["", "watches"].includes(name)) complain("The page has no such place", { message: location.hash });
      show("watches", query);
    }
    behind = address();
  }
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // not escaped by this page
  }
}

function show(name, what) {
  view = name;
  for (const other of VIEWS) {
    byId(`view-${other}`).hidden = other !== name;
    attr(byId(`to-${other}`), "aria-current", other === name ? "page" : null);
  }
  byId("overview").hidden = name !== "watches"; // elsewhere it would only push the view down
  watches.close();
  outbox.close();
  if (name === "watches") watches.open(what);
  else if (name === "deliveries") outbox.open(what);
  else if (name === "sources") status();
  else if (name === "endpoints") endpoints.load();
}

/** Return the address of the view, with its filters. */
function address() {
  if (view === "watches") return filters.address();
  return view === "deliveries" ? sieve.address() : location.hash;
}

function closePanel() {
  if (view === "watches" || view === "deliveries") behind = address();
  location.hash = behind;
}

// -- the daemon's state

function take(type, data) {
  if (type === "status") {
    overview.show(data);
    endpoints.show(data.endpoints);
    nodes.show(data.nodes);
    if (view === "sources") status();
    watches.noteCounts(data.watches);
    outbox.note(data.endpoints);
    timeline.tick();
    letter.tick();
  } else {
    watches.note(data);
    timeline.note(data);
    outbox.refresh();
  }
}

let live = false;
let wasLive = false;

function connected(state) {
  connection.show(state);
  live = state.name === "live";
  if (live) {
    byId("forget").hidden = !hasToken();
    if (wasLive || !watches.isLoaded()) watches.refresh(); // the stream does not repeat every event of the outage
    wasLive = true;
    status();
  }
}

const status = throttle(async () => {
  try {
    const daemon = await call("GET", "v1/status");
    text(byId("node"), `${daemon.node}${daemon.nodes > 1 ? `, one of ${daemon.nodes} nodes` : ""} · ${daemon.version} · up ${duration(daemon.uptime_seconds)}`);
    const names = daemon.sources.map((source) => source.name);
    sources.show(daemon.sources, daemon.without_source);
    addwatch.offer(names, endpoints.names());
    filters.offer(names);
    outbox.know(names);
    byId("notice").hidden = daemon.ready;
    text(byId("notice"), daemon.ready ? "" : `Not ready: ${daemon.reason}.`);
  } catch (error) {
    if (error.status !== 0 && error.status !== 401) complain("The daemon's status cannot be read", error);
  }
}, 1000);

// -- actions

async function addWatch() {
  const added = await addwatch.add();
  if (added === null) return;
  await watches.reload();
  if (added.length === 1) location.hash = watches.hrefOf(added[0].source, added[0].id);
}

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
  if (document.querySelector("dialog[open]") !== null) return; // the browser closes it on Esc
  const typing = event.target.closest?.("input, select, textarea") !== null;
  if (event.key === "Escape" && panel.isOpen()) closePanel();
  else if (event.key === "/" && !typing) {
    event.preventDefault();
    if (view !== "watches") location.hash = filters.address();
    requestAnimationFrame(() => byId("q").focus());
  }
}

whenRefused(askToken);
timeline.begin({
  onLabel: (label) => {
    view = "watches";
    location.hash = `#/watches?label=${encodeURIComponent(label)}`;
  },
  onRemoved: () => {
    closePanel();
    watches.reload();
  },
});
addEventListener("hashchange", route);
addEventListener("keydown", pressed);
byId("add").addEventListener("click", addWatch);
byId("panel-close").addEventListener("click", closePanel);
byId("forget").addEventListener("click", () => {
  forgetToken();
  location.reload();
});
route();
endpoints.load();
const again = follow({ onMessage: take, onState: connected });
for (const button of ["retry-now", "unlock"]) byId(button).addEventListener("click", again);
addEventListener("online", again);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  if (live) watches.refresh();
  else if (byId("connection").dataset.state === "waiting") again();
});
setInterval(() => live && !document.hidden && status(), STATUS_EVERY);
new ResizeObserver(([{ target }]) => {
  document.documentElement.style.setProperty("--top", `${target.offsetHeight}px`); // the panel begins below the header
}).observe(document.querySelector(".top"));
