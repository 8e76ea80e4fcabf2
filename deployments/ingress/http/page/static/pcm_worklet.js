/** Runs in the browser's audio thread: what the microphone hears leaves it as 16-bit samples. */

import { RATE, peakOf, toPcm16 } from "./pcm.js";
import { Resampler } from "./resampling.js";

const PIECE = RATE / 10;

registerProcessor(
  "pcm",
  class extends AudioWorkletProcessor {
    #resampler = new Resampler(sampleRate, RATE);
    #piece = [];

    process([[samples]]) {
      if (samples !== undefined) {
        this.#piece.push(...this.#resampler.resample(samples));
        this.#send();
      }
      return true;
    }

    #send() {
      while (this.#piece.length >= PIECE) {
        const samples = this.#piece.splice(0, PIECE);
        const pcm = toPcm16(samples);
        this.port.postMessage({ pcm, peak: peakOf(samples) }, [pcm]);
      }
    }
  },
);
