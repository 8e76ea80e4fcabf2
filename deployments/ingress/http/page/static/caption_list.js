/**
 * Captions on the page. Words are added, so that a screen reader reads each once; only the whole text of an utterance may
 * correct them.
 */

import { clock } from "./clock.js";
import { make } from "./dom.js";
import { wordsOf } from "./errors.js";

/** Shows utterances in an element. */
export class CaptionList {
  #area;
  #lines = new Map();

  constructor(area) {
    this.#area = area;
  }

  /** Take all captions away. */
  clear() {
    this.#lines.clear();
    this.#area.replaceChildren();
  }

  /** Show what has changed of an utterance. */
  show(utterance) {
    const { id, state, text, added, error } = utterance;
    const isAtEnd = this.#area.scrollHeight - this.#area.scrollTop - this.#area.clientHeight < 40;
    const line = this.#lines.get(id) ?? this.#newLine(utterance);
    if (added) {
      line.text.append(make("span", { className: "new", textContent: added }));
    }
    if (state === "done" && line.text.textContent !== text) {
      line.text.replaceChildren(make("span", { textContent: text }));
    }
    if (error && state === "failed") {
      line.text.append(make("span", { className: "failure", textContent: wordsOf(error) }));
    }
    line.row.className = `caption ${state}`;
    line.row.hidden = state === "done" && !line.text.textContent;
    if (isAtEnd) {
      this.#area.scrollTop = this.#area.scrollHeight;
    }
  }

  #newLine({ id, start }) {
    const text = make("p", { dir: "auto" });
    const time = make("span", { className: "time", textContent: clock(start), ariaHidden: "true" });
    const row = make("div", {}, time, text);
    this.#area.append(row);
    this.#lines.set(id, { row, text });
    return this.#lines.get(id);
  }
}
