// Keeps /v1/stream open: reads it by fetch, which can send the token, and opens it again when it ends.
// Law: the pause before a new attempt grows, is random, and shrinks only after something was received.

import { open } from "./api.js";
import { Decoder } from "./sse.js";

const FIRST = 1000; // milliseconds of the first pause at most
const LONGEST = 30_000;
const SILENCE = 20_000; // longer than the pause between the server's comments (15 s): the connection is dead

/**
 * Follow the stream for as long as the page lives.
 *
 * `onMessage(type, data)` gets each event; `onState({name, reason, until})` each change: connecting, live, waiting
 * (`until`, in milliseconds since the epoch) or locked (no token was given).
 * Returns a function that tries again at once.
 */
export function follow({ onMessage, onState }) {
  let wake = () => {};
  let last = "";

  async function once() {
    const cut = new AbortController();
    let watchdog;
    let received = false;
    try {
      const headers = { Accept: "text/event-stream", ...(last === "" ? {} : { "Last-Event-ID": last }) };
      const response = await open("GET", "v1/stream", { headers, signal: cut.signal });
      const decoder = new Decoder();
      decoder.id = last;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      onState({ name: "live" });
      for (;;) {
        watchdog = setTimeout(() => cut.abort(), SILENCE);
        const { done, value } = await reader.read();
        clearTimeout(watchdog);
        if (done) return { received, reason: "the stream ended" };
        for (const message of decoder.feed(value)) {
          received = true;
          last = message.id;
          onMessage(message.event, JSON.parse(message.data));
        }
      }
    } catch (error) {
      const reason = error.name === "AbortError" ? `silent for ${SILENCE / 1000} s` : error.message;
      return { received, reason, locked: error.status === 401 };
    } finally {
      clearTimeout(watchdog);
      cut.abort();
    }
  }

  async function forever() {
    let failures = 0;
    for (;;) {
      onState({ name: "connecting" });
      const { received, reason, locked } = await once();
      failures = received ? 0 : failures + 1;
      const pause = locked ? Infinity : 250 + Math.random() * Math.min(LONGEST, FIRST * 2 ** failures);
      onState(locked ? { name: "locked", reason } : { name: "waiting", reason, until: Date.now() + pause });
      await new Promise((resolve) => {
        wake = resolve;
        if (pause !== Infinity) setTimeout(resolve, pause);
      });
    }
  }

  forever();
  return () => wake();
}
