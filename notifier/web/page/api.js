// Speaks to the daemon: one call, one answer or one Problem. Holds the bearer token, for this tab only.

const KEPT = "notifier.token"; // in sessionStorage: gone with the tab
const PATIENCE = 30_000; // milliseconds for the head of a reply
let ask = async () => null; // set by `whenRefused`
let asking = null; // the prompt that is open: calls refused at the same time wait for the same answer

/** What went wrong, in words for people; `problems` are the server's own, one for each fault of what was sent. */
export class Problem extends Error {
  constructor(status, message, problems = []) {
    super(message);
    this.status = status; // 0: no answer
    this.problems = problems;
  }
}

/** Say how to ask people for a token: `prompt(wrong)` resolves to one, or to null when they have none. */
export function whenRefused(prompt) {
  ask = prompt;
}

export const hasToken = () => sessionStorage.getItem(KEPT) !== null;
export const forgetToken = () => sessionStorage.removeItem(KEPT);

/** Call the API; return what it answers. Throws Problem, or AbortError. */
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
    if (token === sessionStorage.getItem(KEPT)) await obtain(token !== null); // else somebody entered one meanwhile
  }
}

async function send(method, target, { body, signal, headers }, token) {
  const all = { ...headers };
  if (token !== null) all.Authorization = `Bearer ${asBytes(token)}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  const json = body === undefined ? undefined : JSON.stringify(body);
  const late = new AbortController(); // of the reply's head: a stream's body may take for ever
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

/** Write text as one letter a byte of its UTF-8: a header cannot hold other letters, and the daemon reads UTF-8. */
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
  const told = await response.json().catch(() => ({}));
  const problems = Array.isArray(told.problems) ? told.problems.map(String) : [];
  return new Problem(response.status, String(told.detail ?? told.title ?? `HTTP ${response.status}`), problems);
}

function search(query) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") given.append(name, one);
  }
  return given.size === 0 ? "" : `?${given}`;
}

/** Write a path of the API with its parts escaped. */
export const path = (...parts) => `v1/${parts.map(encodeURIComponent).join("/")}`;
