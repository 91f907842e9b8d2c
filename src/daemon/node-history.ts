import { hostname } from 'node:os';
import type { Deployment } from '../page/deployment-log.js';
import { History, slotMs } from '../page/history.js';
import { nodePage } from '../page/node-page.js';
import { type PageChoice, spanMs } from '../page/page-data.js';
import type { NodeParts, NodeView } from './node-view.js';

const hourMs = 3_600_000;

/** What the page needs beside the parts that the rest of observation looks at. */
export interface PageParts extends NodeParts {
  readonly version: string;
  readonly deployments: () => readonly Deployment[];
}

/** Remembers for a day what came from where, and shows it as a page. */
export class NodeHistory implements Disposable {
  readonly #parts: PageParts;
  readonly #view: NodeView;
  readonly #history = new History();
  readonly #startedAt = performance.now();
  readonly #timer: NodeJS.Timeout;

  constructor(parts: PageParts, view: NodeView) {
    this.#parts = parts;
    this.#view = view;
    this.#timer = setInterval(() => this.#note(), slotMs).unref();
    this.#note();
  }

  async page(choice: PageChoice): Promise<string> {
    const clock = this.#note();
    const { tiers } = await this.#view.usage();
    const { images, mounts, stores, version, deployments } = this.#parts;
    const widthMs = spanMs[choice.hours];
    const count = Math.round((choice.hours * hourMs) / widthMs);
    return nodePage(
      {
        ...{ host: hostname(), version, upMs: clock - this.#startedAt, clock, time: Date.now() },
        images: images.list().length,
        mounts: mounts().filter(({ exitCode }) => exitCode === undefined).length,
        cache: {
          bytes: tiers.reduce((sum, { bytes }) => sum + bytes, 0),
          quotaBytes: tiers.reduce((sum, { quotaBytes }) => sum + quotaBytes, 0),
        },
        waiting: await this.#view.waiting(),
        sources: stores.hosts(),
        ...{ site: this.#view.site, sharedTier: this.#view.sharedTier },
        spans: this.#history.spans(clock, widthMs, count),
        deployments: deployments(),
      },
      choice,
    );
  }

  /** @returns now, on the clock of the history */
  #note(): number {
    const now = performance.now();
    const { site, sharedTier } = this.#view;
    const sources = site
      ? Object.entries(site.counts).map(([source, { bytes }]) => [source, bytes] as const)
      : this.#parts.stores.hosts().map(({ source, bytes }) => [source, bytes] as const);
    const tier = sharedTier ? [['shared tier', sharedTier.counts.bytes] as const] : [];
    this.#history.note(now, new Map([...sources, ...tier]));
    return now;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
