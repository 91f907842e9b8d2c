/** What was seen of all downloads together, since the sample before. */
export interface LinkSample {
  /** Milliseconds that it stands for. */
  readonly ms: number;
  /** Bytes that arrived. */
  readonly bytes: number;
  /** Part of the time that workers waited for bytes, 0 to 1: 1 where the link is the bottleneck. */
  readonly starved: number;
}

/** Below this part of waiting the cores are the bottleneck. */
const starvedMin = 0.6;
/** Bytes a millisecond of a link (200 Mbit/s) from which on storing a layer takes as long as its bytes. */
const fastRate = 25_000;
/** A further stream is kept if it makes the whole faster by this factor. */
const gainMin = 1.15;
/** Streams of one image, however much they gain: registries limit clients that open many. */
const streamsMax = 6;
/** Milliseconds over which a rate is taken, slow start behind it. */
const windowMs = 1000;
/** Milliseconds until one more stream is tried again after one that gained nothing. */
const restMs = 15_000;

/**
 * How many streams (layers at once, or connections for one layer) are worth having. Pure: it is told
 * what was seen, and answers.
 *
 * A fast link: the workers do not starve, or would not if there were more, so as many layers as cores. A slow link: one stream, with
 * the whole link to itself, so that the first layer is stored while the second arrives. A link where a
 * single connection is slow and the whole is not: one stream more each second, as long as it gains.
 */
export class LinkPolicy {
  readonly #cores: number;
  #streams = 1;
  /** The rate without the stream that is on trial, in bytes a millisecond. */
  #rateBefore: number | undefined;
  #windowMs = 0;
  #windowBytes = 0;
  #starvedMs = 0;
  #restMs = 0;

  constructor(cores: number) {
    this.#cores = cores;
  }

  /** Streams wanted now. */
  get streams(): number {
    return this.#streams;
  }

  sample({ ms, bytes, starved }: LinkSample): void {
    // Also where nothing arrives, as nobody takes what has come.
    if (starved < starvedMin || bytes >= fastRate * ms) {
      this.#streams = Math.max(this.#streams, this.#cores);
      this.#startWindow();
      this.#rateBefore = undefined;
      return;
    }
    this.#windowMs += ms;
    this.#windowBytes += bytes;
    this.#starvedMs += ms * starved;
    this.#restMs -= ms;
    if (this.#windowMs >= windowMs) this.#judge();
  }

  #judge(): void {
    const rate = this.#windowBytes / this.#windowMs;
    const starved = this.#starvedMs / this.#windowMs;
    const before = this.#rateBefore;
    this.#startWindow();
    this.#rateBefore = undefined;
    if (before !== undefined && rate <= before * gainMin) {
      this.#streams -= 1;
      this.#restMs = restMs;
    } else if (
      rate > 0 &&
      this.#restMs <= 0 &&
      starved >= starvedMin &&
      this.#streams < streamsMax
    ) {
      this.#rateBefore = rate;
      this.#streams += 1;
    }
  }

  #startWindow(): void {
    this.#windowMs = 0;
    this.#windowBytes = 0;
    this.#starvedMs = 0;
  }
}
