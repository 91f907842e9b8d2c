import { MultiBar, type SingleBar } from 'cli-progress';
import type { ImageSummary, PullEvent } from '../daemon/control-api.js';
import type { Bottleneck } from '../pull/pull-meter.js';
import type { PullSummary } from '../pull/pull-report.js';
import { formatDuration, formatSize } from '../units.js';
import type { ProgressStyle } from './progress.js';

/** Where `thin pull` tells how far it is. */
export interface PullDisplay {
  note(message: string): void;
  update(event: PullEvent): void;
  /** @param summary undefined if the image was here */
  finish(image: ImageSummary, summary: PullSummary | undefined): void;
  /** Ends all output where the pull has failed. */
  close(): void;
}

type LayerState = PullEvent['layers'][number];

/** @param name of the image, as it was asked for */
export function openPullDisplay(style: ProgressStyle, name: string): PullDisplay {
  switch (style) {
    case 'json':
      return new JsonDisplay();
    case 'bars':
      return new BarDisplay(name);
    case 'lines':
      return new LineDisplay(name);
    case 'quiet':
      return { note: () => {}, update: () => {}, finish: () => {}, close: () => {} };
  }
}

/** Milliseconds between two events. */
const jsonIntervalMs = 200;

class JsonDisplay implements PullDisplay {
  #last = 0;

  note(message: string): void {
    printJson({ event: 'note', message });
  }

  update(event: PullEvent): void {
    const now = performance.now();
    if (now - this.#last < jsonIntervalMs && !event.layers.every(isHere)) return;
    this.#last = now;
    printJson(event);
  }

  finish(image: ImageSummary, summary: PullSummary | undefined): void {
    const { manifest, files, fileBytes } = image;
    printJson({ event: 'pulled', manifest, files, fileBytes, ...summary });
  }

  close(): void {}
}

function printJson(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Milliseconds between two lines about the whole: logs of build servers are read by people. */
const lineIntervalMs = 2000;

class LineDisplay implements PullDisplay {
  readonly #name: string;
  readonly #phases = new Map<number, string>();
  readonly #rate = new SmoothRate();
  #last = performance.now();

  constructor(name: string) {
    this.#name = name;
  }

  note(message: string): void {
    process.stderr.write(`${message}\n`);
  }

  update(event: PullEvent): void {
    const rate = this.#rate.add(event.sample);
    for (const [at, layer] of event.layers.entries()) {
      if (this.#phases.get(at) === layer.phase || layer.phase === 'waiting') continue;
      this.#phases.set(at, layer.phase);
      this.note(`${shortDigest(event.digests[at])}: ${phaseWords[layer.phase]} ${sizeOf(layer)}`);
    }
    if (performance.now() - this.#last < lineIntervalMs) return;
    this.#last = performance.now();
    this.note(describeMoment(event, rate));
  }

  finish(_: ImageSummary, summary: PullSummary | undefined): void {
    this.note(describeEnd(this.#name, summary));
  }

  close(): void {}
}

class BarDisplay implements PullDisplay {
  readonly #name: string;
  readonly #bars: SingleBar[] = [];
  readonly #rate = new SmoothRate();
  #status: SingleBar | undefined;
  #multi: MultiBar | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  note(message: string): void {
    if (this.#multi) this.#multi.log(`${message}\n`);
    else process.stderr.write(`${message}\n`);
  }

  update(event: PullEvent): void {
    const rate = this.#rate.add(event.sample);
    const multi = this.#multi ?? this.#open(event);
    for (const [at, layer] of event.layers.entries()) {
      this.#bars[at]?.update(progressOf(layer), {
        phase: phaseWords[layer.phase].padEnd(11),
        size: sizeOf(layer),
      });
    }
    this.#status?.update(0, { line: describeMoment(event, rate) });
    multi.update();
  }

  #open({ digests, layers }: PullEvent): MultiBar {
    const multi = new MultiBar({
      format: '{id}: {phase} [{bar}] {size}',
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: false,
      barsize: 30,
      barCompleteChar: '=',
      barIncompleteChar: ' ',
      fps: 10,
    });
    for (const [at, layer] of layers.entries()) {
      const words = { id: shortDigest(digests[at]), phase: '', size: '' };
      this.#bars.push(multi.create(Math.max(layer.size, 1), 0, words));
    }
    this.#status = multi.create(1, 0, { line: '' }, { format: '{line}' });
    this.#multi = multi;
    return multi;
  }

  finish(_: ImageSummary, summary: PullSummary | undefined): void {
    this.#status?.update(0, { line: '' });
    this.close();
    process.stderr.write(`${describeEnd(this.#name, summary)}\n`);
  }

  close(): void {
    this.#multi?.stop();
  }
}

/** Milliseconds over which a rate is told: that of one moment jumps. */
const rateMs = 1000;

class SmoothRate {
  #samples: { readonly ms: number; readonly bytes: number }[] = [];

  /** @returns bytes a millisecond */
  add({ ms, bytes }: PullEvent['sample']): number {
    this.#samples.push({ ms, bytes });
    const total = () => this.#samples.reduce((sum, sample) => sum + sample.ms, 0);
    while (this.#samples.length > 1 && total() > rateMs) this.#samples.shift();
    return this.#samples.reduce((sum, sample) => sum + sample.bytes, 0) / total();
  }
}

const phaseWords: Readonly<Record<LayerState['phase'], string>> = {
  waiting: 'waiting',
  downloading: 'downloading',
  storing: 'storing',
  here: 'here',
  done: 'done',
  failed: 'failed',
};

const bottleneckWords: Readonly<Record<Bottleneck, string>> = {
  network: 'the network',
  cpu: 'the CPU',
  disk: 'the disk',
};

function describeMoment({ layers, sample }: PullEvent, rate: number): string {
  const done = layers.reduce((sum, layer) => sum + progressOf(layer), 0);
  const total = layers.reduce((sum, layer) => sum + layer.size, 0);
  const share = total > 0 ? Math.floor((100 * done) / total) : 100;
  const waits = `waiting for ${bottleneckWords[sample.bottleneck]}`;
  return `${share} % of ${formatSize(total)}, ${formatSize(rate * 1000)}/s, ${waits}`;
}

function describeEnd(name: string, summary: PullSummary | undefined): string {
  if (summary === undefined) return `${name}: is here`;
  const { layers, layersHere, downloadedBytes, resumedBytes, writtenBytes } = summary;
  const share = Math.round(summary.bottleneckShare * 100);
  return [
    `${name}: ${layers} layers${layersHere > 0 ? `, ${layersHere} of them here` : ''}`,
    `${formatSize(downloadedBytes)} downloaded at ${formatSize(summary.downloadRate)}/s`,
    ...(resumedBytes > 0 ? [`${formatSize(resumedBytes)} from an earlier pull`] : []),
    `${formatSize(writtenBytes)} written${describeTiers(summary.writtenTo)}`,
    `${formatDuration(summary.ms)}, ${formatDuration(summary.msAfterLastByte)} after the last byte`,
    `${share} % of the time waiting for ${bottleneckWords[summary.bottleneck]}`,
  ].join('; ');
}

/** Said where there is more than the local tier. */
function describeTiers(writtenTo: PullSummary['writtenTo']): string {
  const tiers = Object.entries(writtenTo);
  if (tiers.every(([tier]) => tier === 'local')) return '';
  return ` (${tiers.map(([tier, bytes]) => `${formatSize(bytes)} to ${tier}`).join(', ')})`;
}

function isHere({ phase }: LayerState): boolean {
  return phase === 'here' || phase === 'done';
}

/** Compressed bytes that are done with, of `size`. */
function progressOf(layer: LayerState): number {
  if (isHere(layer)) return layer.size;
  // Where layers download first and are stored later, the bar fills twice.
  return layer.phase === 'storing' ? layer.stored : layer.resumed + layer.downloaded - layer.lost;
}

function sizeOf(layer: LayerState): string {
  const size = formatSize(layer.size);
  return isHere(layer) ? size : `${formatSize(progressOf(layer))}/${size}`;
}

/** As docker shows layers. */
function shortDigest(digest: string | undefined): string {
  return digest?.replace(/^[a-z0-9]+:/, '').slice(0, 12) ?? '';
}
