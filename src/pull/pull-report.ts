import { joinedSamples } from './joined-samples.js';
import { type Bottleneck, bottlenecks, type PullSample } from './pull-meter.js';
import type { PullProgress } from './pull-run.js';

/** What a pull was, as a whole. Milliseconds since it began, and bytes. */
export interface PullSummary {
  readonly layers: number;
  /** Layers that were not downloaded because they were here. */
  readonly layersHere: number;
  /** Compressed, over the network. */
  readonly downloadedBytes: number;
  /** Compressed, that an earlier pull had left. */
  readonly resumedBytes: number;
  readonly plainBytes: number;
  /** Of disk, for new files. */
  readonly writtenBytes: number;
  /** The same, by the tiers of the cache. */
  readonly writtenTo: Readonly<Record<string, number>>;
  readonly ms: number;
  /** From the last byte that arrived to the end. */
  readonly msAfterLastByte: number;
  /** Bytes a second, while bytes came. */
  readonly downloadRate: number;
  /** What the pull waited for, and the part of its time for which it did, 0 to 1. */
  readonly bottleneck: Bottleneck;
  readonly bottleneckShare: number;
}

/** Samples that are kept: neighbours are joined when there are as many, which halves them. */
const samplesMax = 2000;

/** Gathers what a pull tells of itself. */
export class PullReport {
  #samples: PullSample[] = [];
  /** Milliseconds that were waited. */
  #waited: Record<Bottleneck, number> = { network: 0, cpu: 0, disk: 0 };
  #lastByteAt = 0;
  #last: PullProgress | undefined;

  add(progress: PullProgress): void {
    const { sample } = progress;
    // The daemon died over it, and the next one began anew.
    if (sample.at < (this.#last?.sample.at ?? 0)) this.#forget();
    this.#waited[sample.bottleneck] += sample.ms;
    if (sample.bytes > 0) this.#lastByteAt = sample.at;
    this.#last = progress;
    this.#samples.push(sample);
    if (this.#samples.length >= samplesMax) this.#samples = joinedSamples(this.#samples, 2);
  }

  #forget(): void {
    this.#samples = [];
    this.#waited = { network: 0, cpu: 0, disk: 0 };
    this.#lastByteAt = 0;
  }

  /** What happened, in steps: the longer a pull takes, the longer are they. */
  get samples(): readonly PullSample[] {
    return this.#samples;
  }

  summary(): PullSummary {
    const layers = this.#last?.layers ?? [];
    const sum = (of: (layer: (typeof layers)[number]) => number) =>
      layers.reduce((total, layer) => total + of(layer), 0);
    const writtenTo: Record<string, number> = {};
    for (const { tier, writtenBytes } of layers) {
      if (tier !== undefined) writtenTo[tier] = (writtenTo[tier] ?? 0) + writtenBytes;
    }
    const ms = this.#last?.sample.at ?? 0;
    const lastByteAt = this.#lastByteAt;
    const downloadedBytes = sum(({ downloaded }) => downloaded);
    return {
      layers: layers.length,
      layersHere: layers.filter(({ phase }) => phase === 'here').length,
      downloadedBytes,
      resumedBytes: sum(({ resumed }) => resumed),
      plainBytes: sum(({ plainBytes }) => plainBytes),
      writtenBytes: sum(({ writtenBytes }) => writtenBytes),
      writtenTo,
      ms,
      msAfterLastByte: ms - lastByteAt,
      downloadRate: lastByteAt > 0 ? (downloadedBytes / lastByteAt) * 1000 : 0,
      ...this.#bottleneck(ms),
    };
  }

  #bottleneck(total: number): Pick<PullSummary, 'bottleneck' | 'bottleneckShare'> {
    const longest = bottlenecks.reduce((most, other) =>
      this.#waited[other] > this.#waited[most] ? other : most,
    );
    return {
      bottleneck: longest,
      bottleneckShare: total > 0 ? Math.min(1, this.#waited[longest] / total) : 0,
    };
  }
}
