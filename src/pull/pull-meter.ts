import type { LinkSample } from './link-policy.js';
import { WaitClock } from './wait-clock.js';

/** Where a layer is on its way. `here`: it was stored before and need not come. `failed`: it will not come in this pull. */
export type LayerPhase = 'waiting' | 'downloading' | 'storing' | 'here' | 'done' | 'failed';

/** How far one layer is. Compressed bytes, unless said otherwise. */
export interface LayerState {
  readonly phase: LayerPhase;
  readonly size: number;
  /** Over the network, in this pull. */
  readonly downloaded: number;
  /** That an earlier pull had left. */
  readonly resumed: number;
  /** Of these two, what was of no use: a layer that came wrong comes once more. */
  readonly lost: number;
  /** Verified, inflated and stored. */
  readonly stored: number;
  readonly plainBytes: number;
  /** Of new files on the disk. */
  readonly writtenBytes: number;
  /** Of the cache, that they are in; undefined as long as none is stored. */
  readonly tier: string | undefined;
}

/** The meter of one layer: whoever brings it writes here, all who want it read. */
export class LayerMeter {
  readonly size: number;
  readonly waits = new WaitClock();
  phase: LayerPhase = 'waiting';
  downloaded = 0;
  resumed = 0;
  lost = 0;
  stored = 0;
  plainBytes = 0;
  writtenBytes = 0;
  tier: string | undefined;
  #begun: boolean = false;

  constructor(size: number) {
    this.size = size;
  }

  /** A try begins, with so many of its bytes here. */
  begin(here: number): void {
    if (!this.#begun) this.resumed = here;
    this.#begun = true;
    this.lost = this.resumed + this.downloaded - here;
  }

  get state(): LayerState {
    const { phase, size, downloaded, resumed, lost, stored } = this;
    const { plainBytes, writtenBytes, tier } = this;
    return { phase, size, downloaded, resumed, lost, stored, plainBytes, writtenBytes, tier };
  }
}

/** What keeps a pull from being faster. */
export const bottlenecks = ['network', 'cpu', 'disk'] as const;
export type Bottleneck = (typeof bottlenecks)[number];

/** What happened in one step of time, all layers together. */
export interface PullSample extends LinkSample {
  /** Milliseconds since the pull began, at the end of the step. */
  readonly at: number;
  readonly storedBytes: number;
  readonly plainBytes: number;
  readonly writtenBytes: number;
  /** Part of all cores that this process kept busy, 0 to 1. */
  readonly cpu: number;
  readonly bottleneck: Bottleneck;
}

/** Above this part of waiting for bytes, the network is what everything waits for. */
const starvedMin = 0.6;
/** Above this part of busy cores, they are. Below both, it is the disk. */
const busyMin = 0.75;

/** Measures a pull in steps. */
export class PullMeter {
  readonly #layers: readonly LayerMeter[];
  readonly #cores: number;
  readonly #start: number;
  #last: Totals;

  /** @param start of the pull, on the clock of `performance.now()` */
  constructor(layers: readonly LayerMeter[], cores: number, start: number) {
    this.#layers = layers;
    this.#cores = cores;
    this.#start = start;
    this.#last = this.#totals();
  }

  /** What happened since the last call. */
  sample(): PullSample {
    const [last, now] = [this.#last, this.#totals()];
    this.#last = now;
    const ms = Math.max(1, now.time - last.time);
    const waited = now.source - last.source + (now.worker - last.worker);
    const starved = waited > 0 ? (now.source - last.source) / waited : 1;
    const cpu = Math.min(1, (now.cpuMs - last.cpuMs) / ms / this.#cores);
    // What is stored of a layer that comes once more is counted anew.
    const since = (of: keyof Totals) => Math.max(0, now[of] - last[of]);
    return {
      at: now.time - this.#start,
      ms,
      bytes: since('downloaded'),
      storedBytes: since('stored'),
      plainBytes: since('plain'),
      writtenBytes: since('written'),
      starved,
      cpu,
      bottleneck: starved >= starvedMin ? 'network' : cpu >= busyMin ? 'cpu' : 'disk',
    };
  }

  #totals(): Totals {
    const { user, system } = process.cpuUsage();
    const sum = (of: (layer: LayerMeter) => number) =>
      this.#layers.reduce((total, layer) => total + of(layer), 0);
    return {
      time: performance.now(),
      cpuMs: (user + system) / 1000,
      downloaded: sum(({ downloaded }) => downloaded),
      stored: sum(({ stored }) => stored),
      plain: sum(({ plainBytes }) => plainBytes),
      written: sum(({ writtenBytes }) => writtenBytes),
      source: sum(({ waits }) => waits.totals.source),
      worker: sum(({ waits }) => waits.totals.worker),
    };
  }
}

interface Totals {
  readonly time: number;
  readonly cpuMs: number;
  readonly downloaded: number;
  readonly stored: number;
  readonly plain: number;
  readonly written: number;
  readonly source: number;
  readonly worker: number;
}
