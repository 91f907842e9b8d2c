import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Histogram, Registry } from 'prom-client';
import type { CacheUsage, TierUsage } from '../cache/cache-usage.js';
import type { EndedRead } from '../cache/reads-in-flight.js';
import type { NodeParts, NodeView } from './node-view.js';
import { addSharedTier } from './shared-tier-metrics.js';
import { addSite } from './site-metrics.js';

/** A page in the text format of Prometheus. */
export interface MetricsPage {
  readonly contentType: string;
  readonly text: string;
}

/** Seconds: from a store next door to the default of `--read-deadline`. */
const readBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
/** Milliseconds between two looks at how late the event loop is. */
const lagResolutionMs = 50;

type PromClient = typeof import('prom-client');
type Labels = Readonly<Record<string, string>>;
export type Sample = readonly [labels: Labels, value: number];

/**
 * What a node counts, for Prometheus; METRICS.md lists it. The library is loaded when somebody asks
 * for the first time: most nodes never do. What is counted from the start is kept by the parts
 * themselves; the histogram and the lag of the event loop begin with that first time.
 */
export class Metrics implements Disposable {
  readonly #parts: NodeParts;
  readonly #view: NodeView;
  #registry: Promise<Registry> | undefined;
  #onRead: ((message: unknown) => void) | undefined;

  constructor(parts: NodeParts, view: NodeView) {
    this.#parts = parts;
    this.#view = view;
  }

  async page(): Promise<MetricsPage> {
    this.#registry ??= import('prom-client').then(({ default: client }) => this.#register(client));
    const registry = await this.#registry;
    return { contentType: registry.contentType, text: await registry.metrics() };
  }

  #register(client: PromClient): Registry {
    const registry = new client.Registry();
    client.collectDefaultMetrics({
      register: registry,
      eventLoopMonitoringPrecision: lagResolutionMs,
    });
    this.#observeReads(
      new client.Histogram({
        name: 'thinfs_read_seconds',
        help: 'Time of reads that no complete local file could answer',
        labelNames: ['outcome'],
        buckets: readBuckets,
        registers: [registry],
      }),
    );
    const add = adder(client, registry);
    this.#addReads(add);
    this.#addSources(add);
    this.#addNode(add);
    addCache(add, this.#view);
    addSite(add, this.#view);
    addSharedTier(add, this.#view);
    return registry;
  }

  #observeReads(histogram: Histogram): void {
    this.#onRead = (message) => {
      const { outcome, milliseconds } = message as EndedRead;
      histogram.observe({ outcome }, milliseconds / 1000);
    };
    subscribe('thinfs:read', this.#onRead);
  }

  #addReads(add: AddMetric): void {
    const { reads } = this.#parts.cache;
    const ended = (): Sample[] =>
      [...reads.outcomes].map(([outcome, count]) => [{ outcome }, count]);
    add('counter', 'thinfs_reads_total', 'Such reads by how they ended', ended);
    const inFlight = () => reads.list().length;
    add('gauge', 'thinfs_reads_in_flight', 'Such reads under way', inFlight);
    const waiting = () => this.#view.waitingCount;
    add('gauge', 'thinfs_reads_waiting', 'Such reads under way for more than a second', waiting);
  }

  #addSources(add: AddMetric): void {
    const { stores } = this.#parts;
    const each = (value: (host: ReturnType<typeof stores.hosts>[number]) => number | undefined) => {
      return (): Sample[] =>
        stores.hosts().flatMap((host): Sample[] => {
          const sample = value(host);
          return sample === undefined ? [] : [[{ source: host.source }, sample]];
        });
    };
    const requests = each((host) => host.requests);
    add('counter', 'thinfs_source_requests_total', 'Requests to a host of stores', requests);
    const failures = each((host) => host.failures);
    add('counter', 'thinfs_source_failures_total', 'Those of them that failed', failures);
    const bytes = each((host) => host.bytes);
    add('counter', 'thinfs_source_bytes_total', 'Bytes of frames, compressed', bytes);
    const up = each((host) => (host.state === 'down' ? 0 : 1));
    add('gauge', 'thinfs_source_up', '0 while it fails each time', up);
    const inFlight = each((host) => host.inFlight);
    add('gauge', 'thinfs_source_requests_in_flight', 'Frames being fetched', inFlight);
    const roundTrip = each(({ roundTripMs }) => roundTripMs && roundTripMs / 1000);
    add('gauge', 'thinfs_source_round_trip_seconds', 'To the first byte, averaged', roundTrip);
    const rate = each((host) => host.bytesPerSecond);
    add('gauge', 'thinfs_source_bytes_per_second', 'Of one request, averaged', rate);
  }

  #addNode(add: AddMetric): void {
    const { images, mounts } = this.#parts;
    add('gauge', 'thinfs_images', 'Images on this node', () =>
      countBy(images.list(), ({ kind }) => ({ kind })),
    );
    const mounted = () => mounts().filter(({ exitCode }) => exitCode === undefined);
    add('gauge', 'thinfs_mounts', 'Mounts and running containers', () =>
      countBy(mounted(), ({ kind }) => ({ kind })),
    );
  }

  [Symbol.dispose](): void {
    if (this.#onRead) unsubscribe('thinfs:read', this.#onRead);
  }
}

const labelNames = ['outcome', 'source', 'kind', 'tier', 'state'];

export type AddMetric = (
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  collect: () => number | readonly Sample[] | Promise<number | readonly Sample[]>,
) => void;

/** Values are asked for when the page is: the parts count for themselves. */
function adder(client: PromClient, registry: Registry): AddMetric {
  return (type, name, help, collect) => {
    const configuration = { name, help, labelNames, registers: [] };
    const samples = async (): Promise<readonly Sample[]> => {
      const collected = await collect();
      return typeof collected === 'number' ? [[{}, collected]] : collected;
    };
    const metric =
      type === 'gauge'
        ? new client.Gauge({
            ...configuration,
            async collect() {
              const collected = await samples();
              this.reset(); // and set at once: another page may be made at the same time
              for (const [labels, value] of collected) this.set(labels, value);
            },
          })
        : new client.Counter({
            ...configuration,
            async collect() {
              const collected = await samples();
              this.reset();
              for (const [labels, value] of collected) this.inc(labels, value);
            },
          });
    registry.registerMetric(metric);
  };
}

function addCache(add: AddMetric, view: NodeView): void {
  const each = (value: (usage: CacheUsage) => number | readonly Sample[]) => async () =>
    value(await view.usage());
  const files = each(({ completeFiles, partialFiles }) => [
    [{ state: 'complete' }, completeFiles],
    [{ state: 'partial' }, partialFiles],
  ]);
  add('gauge', 'thinfs_cache_files', 'Files in the cache', files);
  const tiers = (value: (tier: TierUsage) => number) =>
    each((usage) => usage.tiers.map((tier): Sample => [{ tier: tier.name }, value(tier)]));
  const bytes = tiers((tier) => tier.bytes);
  add('gauge', 'thinfs_cache_bytes', 'Bytes of disk that files take', bytes);
  const quota = tiers((tier) => tier.quotaBytes);
  add('gauge', 'thinfs_cache_quota_bytes', 'What they may take', quota);
  const works = tiers(({ diskWorks }) => (diskWorks ? 1 : 0));
  add('gauge', 'thinfs_cache_disk_works', '0 while a disk fails and is left alone', works);
  const evictedFiles = tiers((tier) => tier.evictedFiles);
  add('counter', 'thinfs_evicted_files_total', 'Files removed for want of space', evictedFiles);
  const evictedBytes = tiers((tier) => tier.evictedBytes);
  add('counter', 'thinfs_evicted_bytes_total', 'What they took of the disk', evictedBytes);
  const frames = each((usage) => usage.wrongFrames);
  add('counter', 'thinfs_wrong_frames_total', 'Frames that arrived with wrong bytes', frames);
  const wrong = each((usage) => usage.wrongFiles);
  add('counter', 'thinfs_wrong_files_total', 'Cached files that were damaged', wrong);
  const failures = each((usage) => usage.failures);
  add('counter', 'thinfs_cache_failures_total', 'What the disk would not keep or read', failures);
}

function countBy<T>(items: readonly T[], labels: (item: T) => Labels): Sample[] {
  const counts = new Map<string, [Labels, number]>();
  for (const item of items) {
    const key = labels(item);
    const name = JSON.stringify(key);
    counts.set(name, [key, (counts.get(name)?.[1] ?? 0) + 1]);
  }
  return [...counts.values()];
}
