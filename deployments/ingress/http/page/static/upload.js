/** Sends a recording and follows its transcription. */

import { EventReader } from "./event_stream.js";
import { ServiceError, errorOf, errorOfEvent } from "./errors.js";
import { ROOT, UNREACHABLE, authorization } from "./service.js";

const DELTA = "transcript.text.delta";
const DONE = "transcript.text.done";
const BROKEN_OFF = "The connection broke before the text was complete. Try again.";

/**
 * Begin a transcription.
 *
 * `told.sent(share)` is called while the file is sent, `told.heard(delta)` for each part of the text.
 * Returns `done`, a promise of the document that `response_format=verbose_json` gives, and `cancel()`, after which
 * `done` is null.
 */
export function transcribe(file, { language, tellsSpeakers }, told) {
  // Not `fetch`, which cannot say how much of the file has been sent.
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    const stream = new Stream(told);
    request.upload.onprogress = (event) => told.sent(event.loaded / event.total);
    request.onprogress = () => stream.read(request);
    request.onload = () => stream.finish(request).then(resolve, reject);
    request.onabort = () => resolve(null);
    request.onerror = () => reject(new ServiceError({ message: UNREACHABLE }));
  });
  request.open("POST", new URL("v1/audio/transcriptions", ROOT));
  Object.entries(authorization()).forEach(([name, value]) => request.setRequestHeader(name, value));
  request.send(formOf(file, language, tellsSpeakers));
  return { done, cancel: () => request.abort() };
}

function formOf(file, language, tellsSpeakers) {
  const form = new FormData();
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "word");
  form.append("timestamp_granularities[]", "segment");
  form.append("stream", "true");
  form.append("language", language);
  form.append("diarize", String(tellsSpeakers));
  form.append("file", file, file.name);
  return form;
}

/** The answer while it arrives. */
class Stream {
  #reader = new EventReader();
  #length = 0;
  #document = null;
  #error = null;

  constructor(told) {
    this.told = told;
  }

  read(request) {
    if (request.status !== 200) {
      return;
    }
    const piece = request.responseText.slice(this.#length);
    this.#length += piece.length;
    this.#reader.read(piece).forEach((event) => this.#take(event));
  }

  async finish(request) {
    if (request.status !== 200) {
      throw errorOf(request.status, request.responseText, (name) => request.getResponseHeader(name));
    }
    this.read(request);
    if (this.#error !== null) {
      throw this.#error;
    }
    if (this.#document === null) {
      throw new ServiceError({ message: BROKEN_OFF });
    }
    return this.#document;
  }

  #take(event) {
    if (event.type === DELTA) {
      this.told.heard(event);
    } else if (event.type === DONE) {
      const { type, ...document } = event;
      this.#document = document;
    } else if (event.type === "error") {
      this.#error = errorOfEvent(event);
    }
  }
}
