import type { Bottleneck, PullSample } from './pull-meter.js';
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

const bottlenecks = ['network', 'cpu', 'disk'] as const satisfies readonly Bottleneck[];

/** Gathers what a pull tells of itself. */
export class PullReport {
  readonly samples: PullSample[] = [];
  #last: PullProgress | undefined;

  add(progress: PullProgress): void {
    this.samples.push(progress.sample);
    this.#last = progress;
  }

  summary(): PullSummary {
    const layers = this.#last?.layers ?? [];
    const sum = (of: (layer: (typeof layers)[number]) => number) =>
      layers.reduce((total, layer) => total + of(layer), 0);
    const writtenTo: Record<string, number> = {};
    for (const { tier, writtenBytes } of layers) {
      if (tier !== undefined) writtenTo[tier] = (writtenTo[tier] ?? 0) + writtenBytes;
    }
    const ms = this.samples.at(-1)?.at ?? 0;
    const lastByteAt = this.samples.findLast(({ bytes }) => bytes > 0)?.at ?? 0;
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
    const timeOf = (wanted: Bottleneck) =>
      this.samples.reduce((sum, { bottleneck, ms }) => sum + (bottleneck === wanted ? ms : 0), 0);
    const [longest = { bottleneck: 'network', ms: 0 } as const] = bottlenecks
      .map((bottleneck) => ({ bottleneck, ms: timeOf(bottleneck) }))
      .sort((a, b) => b.ms - a.ms);
    return {
      bottleneck: longest.bottleneck,
      bottleneckShare: total > 0 ? Math.min(1, longest.ms / total) : 0,
    };
  }
}
