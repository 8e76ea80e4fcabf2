/**
 * Samples at another rate, piece by piece.
 *
 * Browsers differ in whether a microphone may be read at a rate that is not its own, so this is done here for all.
 */

const LOBES = 12;

/** Turns samples of one rate into samples of a lower or the same one, through a windowed sinc as its low-pass. */
export class Resampler {
  #step;
  #half;
  #held;
  #position;
  #weights = new Map();

  constructor(from, to) {
    this.#step = from / to;
    this.#half = Math.ceil(LOBES * Math.max(1, this.#step));
    this.#held = new Float32Array(this.#half); // silence before the first sample
    this.#position = this.#half;
  }

  /** Return the new samples that are known with this piece; they wait for a few samples behind them. */
  resample(piece) {
    if (this.#step === 1) {
      return piece.slice();
    }
    const held = joined(this.#held, piece);
    const made = [];
    while (Math.floor(this.#position) + this.#half < held.length) {
      made.push(this.#at(held, this.#position));
      this.#position += this.#step;
    }
    const done = Math.max(0, Math.floor(this.#position) - this.#half);
    this.#held = held.slice(done);
    this.#position -= done;
    return Float32Array.from(made);
  }

  #at(held, position) {
    const whole = Math.floor(position);
    const first = whole - this.#half + 1;
    return this.#weightsAt(position - whole).reduce((sum, weight, index) => sum + weight * held[first + index], 0);
  }

  /** Return the weights for a place between two samples; rates with a common measure have few such places. */
  #weightsAt(fraction) {
    const name = Math.round(1e6 * fraction);
    if (!this.#weights.has(name)) {
      this.#weights.set(name, weightsOf(this.#half, fraction, Math.max(1, this.#step)));
    }
    return this.#weights.get(name);
  }
}

function weightsOf(half, fraction, width) {
  const weights = Float32Array.from({ length: 2 * half }, (_, index) => kernel((index - half + 1 - fraction) / width));
  const sum = weights.reduce((one, other) => one + other);
  return weights.map((weight) => weight / sum);
}

function kernel(distance) {
  if (distance === 0) {
    return 1;
  }
  if (Math.abs(distance) >= LOBES) {
    return 0;
  }
  const angle = Math.PI * distance;
  return (Math.sin(angle) / angle) * Math.cos(angle / (2 * LOBES)) ** 2;
}

function joined(one, other) {
  const both = new Float32Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
