// Decodes text/event-stream. Law: exactly the WHATWG specification (section 9.2.6), however the text is cut; no I/O.

const LONGEST = 4 << 20; // characters of an unfinished event: the daemon sends no longer ones

/** Decodes text piece by piece, into events {id, event, data}. */
export class Decoder {
  constructor() {
    this.id = "";
    this._rest = ""; // of an incomplete line
    this._afterReturn = false; // a line feed now belongs to the carriage return before it
    this._data = [];
    this._event = "";
  }

  /** Decode a piece. Throws RangeError when an event never ends. */
  feed(piece) {
    const events = [];
    let from = 0;
    if (this._afterReturn && piece.length > 0) {
      if (piece[0] === "\n") from = 1;
      this._afterReturn = false;
    }
    const end = /\r\n|\r|\n/g;
    end.lastIndex = from;
    for (let match = end.exec(piece); match !== null; match = end.exec(piece)) {
      this._line(this._rest + piece.slice(from, match.index), events);
      this._rest = "";
      from = match.index + match[0].length;
      this._afterReturn = match[0] === "\r" && from === piece.length;
    }
    this._rest += piece.slice(from);
    if (this._rest.length > LONGEST) throw new RangeError("an event of the stream is too long");
    return events;
  }

  _line(line, events) {
    if (line === "") return this._dispatch(events);
    const colon = line.indexOf(":");
    if (colon === 0) return undefined; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "data") this._data.push(value);
    else if (name === "event") this._event = value;
    else if (name === "id" && !value.includes("\0")) this.id = value;
    return undefined;
  }

  _dispatch(events) {
    if (this._data.length > 0) events.push({ id: this.id, event: this._event || "message", data: this._data.join("\n") });
    this._data = [];
    this._event = "";
  }
}
