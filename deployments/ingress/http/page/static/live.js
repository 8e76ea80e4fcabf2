/** The part of the page that writes down what is said into the microphone. */

import { CaptionList } from "./caption_list.js";
import { transcriptionOf } from "./captions.js";
import { clock } from "./clock.js";
import { byId, showText } from "./dom.js";
import { offerDownloads } from "./downloads.js";
import { wordsOf } from "./errors.js";
import { LiveSession } from "./live_session.js";
import { openMicrophone } from "./microphone.js";
import { RATE } from "./pcm.js";
import { wavOf } from "./wav.js";

/** Bytes of a recording that are kept to be heard again: half an hour. */
const MOST_KEPT = 2 * RATE * 1800;
const NAME = "captions";

const list = new CaptionList(byId("captions"));

let session = null;
let closeMicrophone = null;
let pieces = [];
let bytes = 0;
let finished = { transcription: transcriptionOf([]), name: NAME };

/** Make the controls work. `handOver(file)` gets a recording that is to be transcribed as a whole. */
export function startLive(needsKey, handOver) {
  byId("listen").onclick = () => (session === null ? start(needsKey) : stop());
  byId("hand-over").onclick = () => handOver(new File([wavOf(pieces, RATE)], `${NAME}.wav`, { type: "audio/wav" }));
  offerDownloads(byId("live-downloads"), () => finished);
  window.addEventListener("pagehide", () => closeMicrophone?.());
}

async function start(needsKey) {
  const button = byId("listen");
  button.disabled = true;
  reset();
  try {
    closeMicrophone = await openMicrophone(hear, stop);
    session = await LiveSession.open(asked(), {
      utterance: (utterance) => list.show(utterance),
      error: showError,
      closed,
    });
    showState("listening", "Listening", "Stop");
  } catch (error) {
    closed();
    showError(error);
    if (error.status === 401) {
      needsKey();
    }
  } finally {
    button.disabled = false;
  }
}

function asked() {
  return { language: byId("live-language").value, tellsSpeakers: byId("tell-live-speakers").checked };
}

function reset() {
  byId("captions").classList.toggle("with-speakers", asked().tellsSpeakers);
  showText(byId("live-error"), "");
  byId("live-result").hidden = true;
  list.clear();
  pieces = [];
  bytes = 0;
  showState("opening", "Opening the microphone", "Start listening");
}

function hear(pcm, peak) {
  byId("level").style.transform = `scaleX(${Math.min(1, Math.sqrt(peak))})`;
  if (session === null) {
    return; // the session is not open yet
  }
  session.hear(pcm);
  bytes += pcm.byteLength;
  byId("live-time").textContent = clock(bytes / 2 / RATE);
  if (bytes <= MOST_KEPT) {
    pieces.push(pcm);
  }
}

function stop() {
  if (session === null) {
    return;
  }
  silence();
  byId("listen").disabled = true;
  showState("finishing", "Waiting for the last words", "Stop");
  session.finish();
}

function silence() {
  closeMicrophone?.();
  closeMicrophone = null;
  byId("level").style.transform = "";
}

function closed() {
  silence();
  const utterances = session?.captions.utterances ?? [];
  utterances.forEach((utterance) => list.show({ ...utterance, added: "" }));
  finished = { transcription: transcriptionOf(utterances), name: NAME };
  session = null;
  byId("listen").disabled = false;
  byId("live-result").hidden = !finished.transcription.text;
  byId("hand-over").hidden = bytes > MOST_KEPT;
  showState("", "The microphone is off", "Start listening");
}

function showState(state, text, action) {
  byId("live").dataset.state = state;
  byId("live-language").disabled = byId("tell-live-speakers").disabled = state !== "";
  byId("live-status").textContent = text;
  byId("listen").textContent = action;
}

function showError(error) {
  showText(byId("live-error"), wordsOf(error));
}
