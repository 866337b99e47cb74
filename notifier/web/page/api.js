// Calls the daemon's API: one call, one answer or one Problem. Holds the bearer token for this tab only.

const KEPT = "notifier.token"; // in sessionStorage: gone with the tab
const PATIENCE = 30_000; // milliseconds for the head of a reply
let ask = async () => null; // set by `whenRefused`
let asking = null; // the open prompt: all calls that are refused meanwhile wait for it

/** An error in words for people; `problems` are the server's own, one for each fault of the request. */
export class Problem extends Error {
  constructor(status, message, problems = []) {
    super(message);
    this.status = status; // 0: no answer
    this.problems = problems;
  }
}

/** Set the prompt for a token: `prompt(wrong)` resolves to a token, or to null if there is none. */
export function whenRefused(prompt) {
  ask = prompt;
}

export const hasToken = () => sessionStorage.getItem(KEPT) !== null;
export const forgetToken = () => sessionStorage.removeItem(KEPT);

/** Call the API; return its answer. Throws Problem, or AbortError. */
export async function call(method, path, { body, query, signal } = {}) {
  const response = await open(method, path, { body, query, signal });
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(response.status, "The daemon's answer cannot be read.");
  }
}

/** Open a response and leave its body to the caller; asks for a token when one is needed. */
export async function open(method, path, { body, query, signal, headers = {} } = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEPT);
    const response = await send(method, path + search(query), { body, signal, headers }, token);
    if (response.ok) return response;
    if (response.status !== 401) throw await problemOf(response);
    if (token === sessionStorage.getItem(KEPT)) await obtain(token !== null); // else another call has asked meanwhile
  }
}

async function send(method, target, { body, signal, headers }, token) {
  const all = { ...headers };
  if (token !== null) all.Authorization = `Bearer ${asBytes(token)}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  const json = body === undefined ? undefined : JSON.stringify(body);
  const late = new AbortController(); // for the reply's head: a stream's body never ends
  const timer = setTimeout(() => late.abort(), PATIENCE);
  const cut = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
  try {
    return await fetch(target, { method, headers: all, body: json, signal: cut, cache: "no-store", redirect: "error" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "The daemon does not answer. Is it running?");
  } finally {
    clearTimeout(timer);
  }
}

/** Encode text as UTF-8, one character a byte: a header holds no other characters, and the daemon reads UTF-8. */
const asBytes = (token) => String.fromCharCode(...new TextEncoder().encode(token));

async function obtain(wrong) {
  asking ??= ask(wrong).finally(() => {
    asking = null;
  });
  const token = await asking;
  if (token === null) throw new Problem(401, "A token is needed: http.token of the configuration.");
  sessionStorage.setItem(KEPT, token);
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const problems = Array.isArray(body.problems) ? body.problems.map(String) : [];
  return new Problem(response.status, String(body.detail ?? body.title ?? `HTTP ${response.status}`), problems);
}

function search(query) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") params.append(name, one);
  }
  return params.size === 0 ? "" : `?${params}`;
}

/** Return a path of the API with its parts escaped. */
export const path = (...parts) => `v1/${parts.map(encodeURIComponent).join("/")}`;
