/** Subtitles and text of a transcription, the same to the letter as the service writes them. */

/** Return SubRip: numbered cues, comma before the milliseconds. */
export function asSrt({ segments }) {
  const blocks = segments.map((segment, index) => {
    // "-->" inside a cue's text would be read as the next cue's times.
    const text = oneLine(segment.text).replaceAll("-->", "->");
    const speaker = segment.speaker ? `${oneLine(segment.speaker)}: ` : "";
    return `${index + 1}\n${times(segment, ",")}\n${speaker}${text}\n`;
  });
  return blocks.join("\n");
}

/** Return WebVTT: a header, point before the milliseconds, markup escaped. */
export function asVtt({ segments }) {
  const blocks = segments.map((segment) => {
    const voice = segment.speaker ? `<v ${escaped(segment.speaker)}>` : "";
    return `${times(segment, ".")}\n${voice}${escaped(segment.text)}\n`;
  });
  return ["WEBVTT\n", ...blocks].join("\n");
}

/** Return the text; where it is known who speaks, a line for each turn with the name before it. */
export function asText({ text, segments }) {
  if (!segments.some((segment) => segment.speaker)) {
    return `${text}\n`;
  }
  return turnsOf(segments)
    .map((turn) => `${turn.speaker}: ${turn.text}\n`)
    .join("");
}

/** Return the whole document as JSON. */
export function asJson(document) {
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** Return what one speaker says after the other: neighbouring segments of the same one together. */
export function turnsOf(segments) {
  const found = [];
  for (const { speaker, text } of segments) {
    if (found.at(-1)?.speaker !== speaker) {
      found.push({ speaker, texts: [] });
    }
    found.at(-1).texts.push(text);
  }
  return found.map(({ speaker, texts }) => ({ speaker, text: joined(texts) }));
}

function joined(texts) {
  return texts.filter(Boolean).reduce((before, after) => {
    // Between texts in scripts without spaces there is none.
    const separator = isUnspaced(before) && isUnspaced(after) ? "" : " ";
    return before ? before + separator + after : after;
  }, "");
}

const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Bopomofo}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/gu;

function isUnspaced(text) {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  return 2 * (text.match(UNSPACED)?.length ?? 0) > letters;
}

function times({ start, end }, mark) {
  return `${stamp(start, mark)} --> ${stamp(end, mark)}`;
}

function stamp(seconds, mark) {
  const milliseconds = Math.round(seconds * 1000);
  const digits = (value, length = 2) => String(value).padStart(length, "0");
  const whole = Math.floor(milliseconds / 1000);
  const clock = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60].map((value) => digits(value));
  return `${clock.join(":")}${mark}${digits(milliseconds % 1000, 3)}`;
}

function escaped(text) {
  return oneLine(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function oneLine(text) {
  // An empty line would end the cue.
  return text.split(/\s+/).filter(Boolean).join(" ");
}
