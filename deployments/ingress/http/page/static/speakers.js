/** Speakers in colour. */

import { clock } from "./clock.js";
import { make } from "./dom.js";
import { speakingTimes } from "./words.js";

const COLOURS = 8;

/** Return the class of a speaker's colour, by the order in which speakers begin. */
export function speakerClass(speakers, speaker) {
  const number = speakers.indexOf(speaker);
  return number < 0 ? "" : `speaker-${(number % COLOURS) + 1}`;
}

/** Return everybody who speaks in a transcription, in the order in which they begin. */
export function speakersOf({ speakers, segments }) {
  return speakers ?? [...new Set(segments.map((segment) => segment.speaker).filter(Boolean))];
}

/** Show who speaks, and for how long. */
export function showSpeakers(list, transcription) {
  const speakers = speakersOf(transcription);
  const seconds = speakingTimes(transcription.segments, speakers);
  list.replaceChildren(
    ...speakers.map((speaker, index) =>
      make(
        "li",
        { className: speakerClass(speakers, speaker) },
        make("span", { className: "speaker", textContent: speaker }),
        make("span", { className: "hint", textContent: clock(seconds[index]) }),
      ),
    ),
  );
}
