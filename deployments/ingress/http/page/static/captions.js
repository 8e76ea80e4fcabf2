/** The utterances of a live session and their texts, as its events tell them. */

const TRANSCRIPTION = "conversation.item.input_audio_transcription.";

/**
 * Follows the events of a session.
 *
 * Each utterance has an `id`, `start` in seconds, its `text` so far, and a `state`: `speaking`, `waiting` for its whole
 * text, `done`, or `failed` with an `error`. Where speakers are told apart, one that is done has `segments`.
 */
export class Captions {
  #utterances = new Map();

  /** All utterances, in the order in which they were said. */
  get utterances() {
    return [...this.#utterances.values()];
  }

  /** Whether the text of something that was said is still to come. */
  get areWaiting() {
    return this.utterances.some(({ state }) => state === "speaking" || state === "waiting");
  }

  /** Take an event; return the utterance that it is about, with the `added` text, or null where it is about none. */
  take(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        return this.#change(event.item_id, { start: event.audio_start_ms / 1000 });
      case "input_audio_buffer.committed":
        return this.#change(event.item_id, { state: "waiting" });
      case `${TRANSCRIPTION}delta`:
        return this.#change(event.item_id, {}, event.delta);
      case `${TRANSCRIPTION}completed`:
        return this.#complete(event);
      case `${TRANSCRIPTION}failed`:
        return this.#change(event.item_id, { state: "failed", error: event.error });
      default:
        return null;
    }
  }

  /** Give up what is still to come: the session is over. */
  end() {
    this.utterances
      .filter(({ state }) => state === "speaking" || state === "waiting")
      .forEach((utterance) => (utterance.state = "done"));
  }

  #complete({ item_id: id, transcript, words = [], segments = [] }) {
    const before = this.#utterances.get(id)?.text ?? "";
    const end = words.at(-1)?.end;
    const utterance = this.#change(id, { state: "done", words, segments, end });
    // The whole utterance is understood better than its parts were: its text stands for theirs.
    const added = transcript.startsWith(before) ? transcript.slice(before.length) : "";
    return Object.assign(utterance, { text: transcript, added });
  }

  #change(id, changes, added = "") {
    const known = this.#utterances.get(id) ?? { id, start: 0, text: "", state: "speaking" };
    const utterance = Object.assign(known, changes, { text: known.text + added, added });
    this.#utterances.set(id, utterance);
    return utterance;
  }
}

/** Return the captions as a transcription, which can be saved as that of a file is. */
export function transcriptionOf(utterances) {
  const spoken = utterances.filter(({ text }) => text.trim());
  return {
    text: spoken.map(({ text }) => text.trim()).join(" "),
    segments: spoken.flatMap(segmentsOf),
    words: spoken.flatMap(({ words = [] }) => words),
  };
}

function segmentsOf({ start, end, text, words = [], segments = [] }) {
  return segments.length ? segments : [{ start: words[0]?.start ?? start, end: end ?? start, text: text.trim() }];
}
