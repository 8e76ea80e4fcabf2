/** A transcription with its times: words light up while they are heard, and lead to where they were said. */

import { clock } from "./clock.js";
import { make } from "./dom.js";
import { speakerClass, speakersOf } from "./speakers.js";
import { placeWords, wordAt } from "./words.js";

/** The transcript in a list, beside the player of its recording. */
export class Transcript {
  #list;
  #player;
  #words = [];
  #spans = new Map();
  #buttons = [];
  #lit = -1;

  constructor(list, player) {
    this.#list = list;
    this.#player = player;
    list.addEventListener("click", (event) => this.#onClick(event));
    list.addEventListener("keydown", (event) => this.#onKey(event));
    player.addEventListener("play", () => this.#follow());
    player.addEventListener("timeupdate", () => this.#light());
  }

  /** Show a document of `response_format=verbose_json`. */
  show(transcription) {
    this.#words = transcription.words ?? [];
    this.#spans.clear();
    this.#lit = -1;
    const speakers = speakersOf(transcription);
    const parts = placeWords(transcription.segments, this.#words);
    const items = transcription.segments.map((segment, index) => this.#item(segment, parts[index], speakers));
    this.#list.lang = transcription.languages?.[0]?.code ?? "";
    this.#list.classList.toggle("with-speakers", speakers.length > 0);
    this.#list.replaceChildren(...items);
    this.#buttons = [...this.#list.querySelectorAll("button")];
    this.#buttons.forEach((button, index) => (button.tabIndex = index === 0 ? 0 : -1));
  }

  #item(segment, parts, speakers) {
    const { start, speaker } = segment;
    const time = make("button", { type: "button", className: "time", textContent: clock(start) });
    time.dataset.start = start;
    time.ariaLabel = `Play from ${clock(start)}`;
    const text = make("p", { dir: "auto" }, ...parts.map((part) => this.#part(part)));
    const head = make("div", { className: "segment-head" }, time);
    if (speaker) {
      const others = segment.also_speaking ? ` and ${segment.also_speaking.join(", ")}` : "";
      head.append(make("span", { className: "speaker", textContent: speaker + others }));
    }
    return make("li", { className: `segment ${speakerClass(speakers, speaker)}` }, head, text);
  }

  #part({ text, index }) {
    if (index === undefined) {
      return text;
    }
    const span = make("span", { className: "word", textContent: text });
    span.dataset.start = this.#words[index].start;
    this.#spans.set(index, span);
    return span;
  }

  #onClick(event) {
    const start = event.target.closest("[data-start]")?.dataset.start;
    if (start !== undefined) {
      this.#play(Number(start));
    }
  }

  #onKey(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    const at = this.#buttons.indexOf(event.target);
    const moves = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: this.#buttons.length - 1 };
    if (at < 0 || !(event.key in { ...steps, ...moves })) {
      return;
    }
    event.preventDefault();
    if (event.key in steps) {
      const word = this.#words[wordAt(this.#words, this.#player.currentTime) + steps[event.key]];
      this.#play(word?.start ?? 0);
    } else {
      this.#focus(this.#buttons[moves[event.key]]);
    }
  }

  /** Move the one stop of the Tab key that the list has. */
  #focus(button) {
    if (button === undefined) {
      return;
    }
    this.#buttons.forEach((each) => (each.tabIndex = each === button ? 0 : -1));
    button.focus();
  }

  #play(seconds) {
    this.#player.currentTime = seconds;
    this.#light();
    // Who has not chosen a file that this browser plays hears nothing.
    this.#player.play().catch(() => {});
  }

  #follow() {
    this.#light();
    if (!this.#player.paused) {
      requestAnimationFrame(() => this.#follow());
    }
  }

  #light() {
    const now = wordAt(this.#words, this.#player.currentTime);
    if (now === this.#lit) {
      return;
    }
    const before = this.#spans.get(this.#lit);
    const span = this.#spans.get(now);
    before?.classList.remove("lit");
    span?.classList.add("lit");
    this.#lit = now;
    // Who has scrolled away reads something else.
    if (before && isSeen(before)) {
      span?.scrollIntoView({ block: "nearest" });
    }
  }
}

function isSeen(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < window.innerHeight;
}
