/**
 * Captions on the page. Words are added, so that a screen reader reads each once; only the whole text of an utterance may
 * correct them.
 */

import { clock } from "./clock.js";
import { make } from "./dom.js";
import { wordsOf } from "./errors.js";
import { speakerClass, speakersOf } from "./speakers.js";
import { turnsOf } from "./subtitles.js";

/** Shows utterances in an element. */
export class CaptionList {
  #area;
  #lines = new Map();
  #speakers = [];

  constructor(area) {
    this.#area = area;
  }

  /** Take all captions away. */
  clear() {
    this.#lines.clear();
    this.#speakers = [];
    this.#area.replaceChildren();
  }

  /** Show what has changed of an utterance. */
  show(utterance) {
    const { id, state, text, added, error, segments = [] } = utterance;
    const isAtEnd = this.#area.scrollHeight - this.#area.scrollTop - this.#area.clientHeight < 40;
    const line = this.#lines.get(id) ?? this.#newLine(utterance);
    if (added) {
      line.text.append(make("span", { className: "new", textContent: added }));
    }
    if (state === "done" && line.text.textContent !== text) {
      line.text.replaceChildren(make("span", { textContent: text }));
    }
    this.#showSpeakers(line, segments);
    if (error && state === "failed") {
      line.text.append(make("span", { className: "failure", textContent: wordsOf(error) }));
    }
    line.row.className = `caption ${state}`;
    line.row.hidden = state === "done" && !line.text.textContent;
    if (isAtEnd) {
      this.#area.scrollTop = this.#area.scrollHeight;
    }
  }

  /** Put the speaker's name beside an utterance; where others join in, their names before what they say. */
  #showSpeakers(line, segments) {
    if (!segments.some(({ speaker }) => speaker)) {
      return;
    }
    this.#speakers = [...new Set([...this.#speakers, ...speakersOf({ segments })])];
    const [first, ...others] = turnsOf(segments);
    line.speaker.replaceChildren(this.#name(first.speaker));
    if (others.length) {
      const turns = others.flatMap(({ speaker, text }) => [" ", this.#name(speaker), ` ${text}`]);
      line.text.replaceChildren(first.text, ...turns);
    }
  }

  #name(speaker) {
    const className = `speaker ${speakerClass(this.#speakers, speaker)}`;
    return make("span", { className, textContent: speaker ?? "" });
  }

  #newLine({ id, start }) {
    const text = make("p", { dir: "auto" });
    const time = make("span", { className: "time", textContent: clock(start), ariaHidden: "true" });
    const speaker = make("span");
    const row = make("div", {}, make("div", { className: "caption-head" }, time, speaker), text);
    this.#area.append(row);
    this.#lines.set(id, { row, text, speaker });
    return this.#lines.get(id);
  }
}
