// Numbers and times as text. Pure, apart from the browser's time zone. Times arrive as RFC 3339 in UTC.

const whole = new Intl.NumberFormat("en");
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const PHASES = ["new", "queued", "running", "succeeded", "failed", "canceled", "lost"]; // the names that counts use
export const ENDED = new Set(["succeeded", "failed", "canceled", "lost"]);
export const MEANING = {
  new: "not observed yet",
  queued: "accepted, not started",
  running: "being worked on",
  succeeded: "finished",
  failed: "the provider reports a failure",
  canceled: "ended because someone asked",
  lost: "given up before the end",
};

/** Return the one of PHASES under which a watch is counted. */
export const phaseOf = (watch) => (watch.lost ? "lost" : (watch.phase ?? "new"));

export const count = (n) => whole.format(n);

/** Write "1 watch" or "2 watches". */
export const plural = (n, one, many = `${one}s`) => `${whole.format(n)} ${n === 1 ? one : many}`;

/** Write a rate with its significant digits. */
export function rate(value) {
  if (value >= 100) return whole.format(Math.round(value));
  return String(Number(value.toFixed(value >= 10 ? 1 : 2)));
}

/** Write a duration in its one or two largest units. */
export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s > 0 && s < 0.0005) return "< 1 ms";
  if (s < 0.0995) return `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  if (s < 3600) return pair(s, 60, "min", 1, "s");
  if (s < 86400) return pair(s, 3600, "h", 60, "min");
  return pair(s, 86400, "d", 3600, "h");
}

function pair(seconds, large, largeName, small, smallName) {
  const whole_ = Math.floor(seconds / large);
  const rest = Math.floor((seconds - whole_ * large) / small);
  return rest === 0 ? `${whole_} ${largeName}` : `${whole_} ${largeName} ${rest} ${smallName}`;
}

/** Write an age in one unit, for a narrow column. */
export function age(instant, now = Date.now()) {
  const s = Math.max(0, (now - Date.parse(instant)) / 1000);
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** Write the local time of day, with the date unless it is today. */
export function clock(instant) {
  const date = new Date(instant);
  const time = clockFormat.format(date);
  return date.toDateString() === new Date().toDateString() ? time : `${dayFormat.format(date)}, ${time}`;
}

export const secondsBetween = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;

/** Write `http_500` in words. */
export const spoken = (reason) => (reason ?? "").replace(/^http_/, "HTTP ").replaceAll("_", " ");
