/** Buttons that save a transcription as a file, or copy its text. */

import { make } from "./dom.js";
import { asJson, asSrt, asText, asVtt } from "./subtitles.js";

const FORMATS = {
  txt: { write: asText, type: "text/plain", title: "Save the text" },
  srt: { write: asSrt, type: "application/x-subrip", title: "Save subtitles as SubRip" },
  vtt: { write: asVtt, type: "text/vtt", title: "Save subtitles as WebVTT" },
  json: { write: asJson, type: "application/json", title: "Save everything as JSON" },
};

/** Fill a group with the buttons; `current()` returns the transcription and the name of the files. */
export function offerDownloads(group, current) {
  const saving = Object.entries(FORMATS).map(([suffix, { title }]) =>
    make("button", {
      type: "button",
      className: "quiet",
      textContent: suffix,
      title,
      onclick: () => save(current(), suffix),
    }),
  );
  group.replaceChildren(...(navigator.clipboard ? [copying(current)] : []), ...saving);
}

function copying(current) {
  const button = make("button", { type: "button", className: "quiet", textContent: "Copy" });
  button.onclick = async () => {
    await navigator.clipboard.writeText(asText(current().transcription));
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  };
  return button;
}

function save({ transcription, name }, suffix) {
  const { write, type } = FORMATS[suffix];
  const address = URL.createObjectURL(new Blob([write(transcription)], { type: `${type};charset=utf-8` }));
  make("a", { href: address, download: `${name}.${suffix}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
