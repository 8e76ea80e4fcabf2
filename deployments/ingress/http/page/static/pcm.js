/** Samples as the service takes them: signed, 16 bits, little-endian. */

/** Samples per second of a live session. */
export const RATE = 24_000;

/** Return samples from -1 to 1 as 16-bit ones; what is louder is cut off. */
export function toPcm16(samples) {
  const bytes = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((sample, index) => {
    bytes.setInt16(2 * index, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
  });
  return bytes.buffer;
}

/** Return the loudest of samples from -1 to 1. */
export function peakOf(samples) {
  return samples.reduce((loudest, sample) => Math.max(loudest, Math.abs(sample)), 0);
}
