/** The part of the page that transcribes a file. */

import { clock } from "./clock.js";
import { byId, make, showText } from "./dom.js";
import { offerDownloads } from "./downloads.js";
import { wordsOf } from "./errors.js";
import { languageName } from "./languages.js";
import { showSpeakers } from "./speakers.js";
import { Transcript } from "./transcript.js";
import { transcribe } from "./upload.js";

const player = byId("player");
const transcript = new Transcript(byId("transcript"), player);

let rest = null;
let file = null;
let running = null;
let finished = null;

/**
 * Make the controls work.
 *
 * Of the rest of the page, `rest.needsKey()` is called when the service asks for a key, and `rest.open()` when a file
 * comes, so that this part can be seen.
 */
export function startRecordings(restOfPage) {
  rest = restOfPage;
  byId("choose").onclick = () => byId("file").click();
  byId("another").onclick = () => byId("file").click();
  byId("again").onclick = run;
  byId("cancel").onclick = () => running?.cancel();
  byId("file").onchange = ({ target }) => {
    take(target.files[0]);
    target.value = ""; // the same file may be chosen again
  };
  player.onerror = () => setPlayable(false);
  player.onloadedmetadata = () => setPlayable(true);
  takeDrops();
  offerDownloads(byId("downloads"), () => finished);
}

/** Transcribe a file, in the place of the one before. */
export function take(chosen) {
  if (!chosen) {
    return;
  }
  rest.open();
  file = chosen;
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  byId("file-name").textContent = file.name;
  byId("chosen").hidden = false;
  if (!byId("drop").hidden) {
    byId("drop").hidden = true;
    byId("another").focus();
  }
  run();
}

function setPlayable(plays) {
  player.hidden = !plays;
  byId("unplayable").hidden = plays;
}

/** Take files wherever they are dropped: beside the page's own place a browser would leave the page for them. */
function takeDrops() {
  const mark = (over) => byId("drop").classList.toggle("over", over);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", () => mark(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    take(event.dataTransfer.files[0]);
  });
}

async function run() {
  running?.cancel();
  begin();
  const began = performance.now();
  const options = { language: byId("recording-language").value, tellsSpeakers: byId("tell-speakers").checked };
  const mine = transcribe(file, options, { sent: showSent, heard: showHeard });
  running = mine;
  try {
    const transcription = await mine.done;
    if (running === mine) {
      end(transcription, (performance.now() - began) / 1000);
    }
  } catch (error) {
    if (running === mine) {
      end(null);
      showText(byId("recording-error"), wordsOf(error));
    }
    if (error.status === 401) {
      rest.needsKey();
    }
  }
}

function begin() {
  showText(byId("recording-error"), "");
  showText(byId("partial"), "");
  byId("warnings").hidden = true;
  byId("result").hidden = true;
  byId("again").hidden = true;
  setRunning(true);
  showSent(0);
}

function showSent(share) {
  const isSent = share === 1;
  // In few steps, because a screen reader reads each.
  const text = isSent ? "Waiting for the first words" : `Sending the file, ${10 * Math.floor(10 * share)}%`;
  showProgress(text, isSent ? null : share);
}

function showHeard({ delta, end: second, duration }) {
  byId("partial").append(delta);
  byId("partial").hidden = false;
  showProgress(`Transcribed ${clock(second)} of ${clock(duration)}`, second / duration);
}

/** Show how far it is; a share of null is not known. */
function showProgress(text, share) {
  byId("progress").textContent = text;
  const bar = byId("progress-bar");
  if (share === null) {
    bar.removeAttribute("value");
  } else {
    bar.value = share;
  }
}

/** Show how a transcription ended; what came before it was cancelled or failed stays on the page. */
function end(transcription, seconds) {
  running = null;
  byId("again").hidden = false;
  setRunning(false);
  if (transcription === null) {
    byId("progress").textContent = "The transcription is not complete";
    return;
  }
  byId("progress").textContent = summaryOf(transcription, seconds);
  showText(byId("partial"), "");
  finished = { transcription, name: file.name.replace(/\.[^.]*$/, "") };
  showWarnings(transcription.warnings);
  showSpeakers(byId("speakers"), transcription);
  transcript.show(transcription);
  byId("result").hidden = false;
}

function setRunning(runs) {
  const hadFocus = document.activeElement === byId("cancel");
  byId("cancel").hidden = !runs;
  byId("progress-bar").hidden = !runs;
  if (hadFocus && !runs) {
    byId("again").focus(); // what has the focus must not vanish under it
  }
}

function summaryOf({ languages, text, duration }, seconds) {
  const spoken = text ? languages.map(({ code }) => languageName(code)).join(", ") : "Nobody speaks in it";
  return `${spoken} · ${clock(duration)} transcribed in ${seconds.toFixed(1)} s`;
}

function showWarnings(warnings) {
  byId("warnings").replaceChildren(...warnings.map((warning) => make("li", { textContent: warning })));
  byId("warnings").hidden = !warnings.length;
}
