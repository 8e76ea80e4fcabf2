/** Words of a transcription: where each stands in its segment's text, and which one is spoken at a moment. */

const BETWEEN_WORDS = /^[^\p{L}\p{N}]*$/u;

/**
 * Return each segment's text in parts: `{ text }`, or `{ text, index }` for a word, by its number in `words`.
 *
 * The parts of a segment joined are its text. A text that could not be aligned with the audio has no words.
 */
export function placeWords(segments, words) {
  let next = 0;
  return segments.map((segment) => {
    while (next < words.length && words[next].end <= segment.start) {
      next += 1; // a word that no segment shows
    }
    const placed = partsOf(segment.text, words, next);
    next = placed.next;
    return placed.parts;
  });
}

function partsOf(text, words, first) {
  const parts = [];
  let next = first;
  let cursor = 0;
  while (next < words.length) {
    const at = text.indexOf(words[next].word, cursor);
    const gap = text.slice(cursor, at);
    if (at < 0 || !BETWEEN_WORDS.test(gap)) {
      break;
    }
    if (gap) {
      parts.push({ text: gap });
    }
    parts.push({ text: words[next].word, index: next });
    cursor = at + words[next].word.length;
    next += 1;
  }
  if (cursor < text.length) {
    parts.push({ text: text.slice(cursor) });
  }
  return { parts, next };
}

/** Return the number of the last word that has begun at a moment; -1 before the first. */
export function wordAt(words, seconds) {
  let low = 0;
  let high = words.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].start <= seconds) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

/** Return how many seconds each speaker speaks, in the order of `speakers`. */
export function speakingTimes(segments, speakers) {
  return speakers.map((speaker) =>
    segments
      .filter((segment) => segment.speaker === speaker)
      .reduce((sum, segment) => sum + segment.end - segment.start, 0),
  );
}
