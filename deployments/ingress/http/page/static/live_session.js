/** A live session with the service, over OpenAI's realtime protocol. */

import { Captions } from "./captions.js";
import { ServiceError, errorOf, errorOfEvent } from "./errors.js";
import { key } from "./key.js";
import { RATE } from "./pcm.js";
import { ROOT, UNREACHABLE, answerOf } from "./service.js";

const PATH = "v1/realtime?intent=transcription";
const LAST_COMMIT = "last-commit";
const PATIENCE_MS = 30_000;
const UPGRADE_REQUIRED = 426;
const NOT_LET_IN =
  "The service did not open a live session: as many may be open as it allows, or something between the page and the " +
  "service lets no WebSocket pass. Try again in a moment.";

/**
 * An open session.
 *
 * `told.utterance(utterance)` is called for each change, `told.error(error)` for what goes wrong, and `told.closed()`
 * once, at the end.
 */
export class LiveSession {
  captions = new Captions();
  #socket;
  #told;
  #stopped = new Set();
  #isLastCommitted = false;

  constructor(socket, told) {
    this.#socket = socket;
    this.#told = told;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = ({ wasClean }) => this.#close(wasClean);
  }

  /** Open a session; throw the error that the service tells. `asked.language` may be `auto`. */
  static async open(asked, told) {
    const session = new LiveSession(await opened(), told);
    session.#send({ type: "session.update", session: settings(asked) });
    return session;
  }

  /** Send 16-bit samples. */
  hear(pcm) {
    if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(pcm);
    }
  }

  /** End it when everything that was said has its text. */
  finish() {
    this.#send({ type: "input_audio_buffer.commit", event_id: LAST_COMMIT });
    setTimeout(() => this.#socket.close(), PATIENCE_MS);
  }

  #send(event) {
    if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify(event));
    }
  }

  #take(event) {
    if (event.type === "error") {
      this.#takeError(event);
    }
    if (event.type === "input_audio_buffer.speech_stopped") {
      this.#stopped.add(event.item_id);
    }
    // What the service commits by itself has stopped before.
    if (event.type === "input_audio_buffer.committed" && !this.#stopped.has(event.item_id)) {
      this.#isLastCommitted = true;
    }
    const utterance = this.captions.take(event);
    if (utterance !== null) {
      this.#told.utterance(utterance);
    }
    if (this.#isLastCommitted && !this.captions.areWaiting) {
      this.#socket.close();
    }
  }

  #takeError(event) {
    if (event.error.event_id === LAST_COMMIT) {
      this.#isLastCommitted = true; // there was nothing to commit
    } else {
      this.#told.error(errorOfEvent(event));
    }
  }

  #close(wasClean) {
    if (!wasClean) {
      this.#told.error(new ServiceError({ message: UNREACHABLE }));
    }
    this.captions.end();
    this.#told.closed();
  }
}

function settings({ language, tellsSpeakers }) {
  const wanted = ["words", ...(tellsSpeakers ? ["speakers"] : [])];
  return {
    type: "transcription",
    audio: {
      input: {
        format: { type: "audio/pcm", rate: RATE },
        transcription: language === "auto" ? {} : { language },
        turn_detection: { type: "server_vad" },
      },
    },
    include: wanted.map((part) => `item.input_audio_transcription.${part}`),
  };
}

function opened() {
  const address = new URL(PATH, ROOT);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  // A page cannot set the headers of a WebSocket, so the key goes among its protocols.
  const socket = new WebSocket(address, key() ? ["realtime", `openai-insecure-api-key.${key()}`] : ["realtime"]);
  return new Promise((resolve, reject) => {
    socket.onerror = () => refusal().then(reject, reject);
    socket.onopen = () => {
      socket.onerror = null;
      resolve(socket);
    };
  });
}

/** Return why a session was refused: browsers hide the answer, but a plain request gets the same one in most cases. */
async function refusal() {
  const { answer, body } = await answerOf(PATH);
  if (answer.status === UPGRADE_REQUIRED) {
    return new ServiceError({ message: NOT_LET_IN });
  }
  return answer.ok
    ? new ServiceError({ message: UNREACHABLE })
    : errorOf(answer.status, body, (name) => answer.headers.get(name));
}
