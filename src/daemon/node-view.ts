import { LRUCache } from 'lru-cache';
import type { CacheUsage } from '../cache/cache-usage.js';
import type { FileCache } from '../cache/file-cache.js';
import type { ReadInFlight } from '../cache/reads-in-flight.js';
import { type Digest, parseDigest } from '../digest.js';
import { describeError, ThinError } from '../errors.js';
import type { PointOfPresence, PopReport } from '../pop/point-of-presence.js';
import type { SharedTier } from '../pop/shared-tier.js';
import type { SharedTierReport } from '../pop/shared-tier-report.js';
import { contentPaths } from './content-paths.js';
import type { CompletionStatus, MountSummary } from './control-api.js';
import type { ImageFolder, ImageRecord } from './image-folder.js';
import type { LiveImages } from './live-images.js';
import type { Activity, ImageActivity, LocalShare, WaitingRead, WhyReport } from './observation.js';
import type { Stores } from './stores.js';

/** Milliseconds after which a read counts as waiting: a far store answers sooner. */
const waitingAfterMs = 1000;
/** Waiting reads that are told one by one. */
const waitingMax = 100;
/** Contents of which it is remembered where an image has them. */
const pathsMax = 1024;
/** Milliseconds for which what the index says about images is good enough: it counts every file. */
const usageLifeMs = 2000;

export interface NodeParts {
  readonly cache: FileCache;
  readonly images: ImageFolder;
  readonly live: LiveImages;
  readonly stores: Stores;
  /** This node among the others of its site; undefined if it is in none. */
  readonly site: PointOfPresence | undefined;
  readonly shared: SharedTier | undefined;
  /** Mounts and containers. */
  readonly mounts: () => readonly MountSummary[];
  /** Why nothing can be mounted composed here, if that is known. */
  readonly portableReason: () => string | undefined;
  readonly completion: (image: Digest) => CompletionStatus | undefined;
}

/** Looks at what the parts of a node do, for people; changes nothing. */
export class NodeView {
  readonly #parts: NodeParts;
  readonly #paths = new LRUCache<string, readonly string[]>({ max: pathsMax });
  #usage: { readonly at: number; readonly value: Promise<CacheUsage> } | undefined;

  constructor(parts: NodeParts) {
    this.#parts = parts;
  }

  /** How many reads wait. */
  get waitingCount(): number {
    return this.#waitingReads().length;
  }

  /** What this node knows of its site, if it is in one. */
  get site(): PopReport | null {
    return this.#parts.site?.report() ?? null;
  }

  get sharedTier(): SharedTierReport | null {
    return this.#parts.shared?.report() ?? null;
  }

  /** What the cache has, as of a moment ago. */
  usage(): Promise<CacheUsage> {
    const now = performance.now();
    if (!this.#usage || now - this.#usage.at > usageLifeMs) {
      this.#usage = { at: now, value: this.#parts.cache.usage() };
    }
    return this.#usage.value;
  }

  /** The reads that wait, the longest first. @param image only those of its files */
  async waiting(image?: Digest): Promise<WaitingRead[]> {
    const told: WaitingRead[] = [];
    for (const [manifest, reads] of this.#byImage(this.#waitingReads())) {
      if (image !== undefined && manifest !== image) continue;
      const paths = await this.#pathsOf(manifest, reads);
      for (const read of reads) told.push(this.#tell(manifest, read, paths));
    }
    return told.sort((a, b) => a.since - b.since).slice(0, waitingMax);
  }

  /**
   * @param name a mount point or something below it, an id of a mount or container, or an image by
   *   reference or digest
   * @throws ThinError `not-found`
   */
  async why(name: string): Promise<WhyReport> {
    const mount = this.#findMount(name);
    const record = this.#findImage(mount?.manifest ?? name);
    if (!record) {
      throw new ThinError(
        'not-found',
        `Cannot tell about ${name}: wanted a mount, a container or an image (thin status lists them)`,
      );
    }
    const manifest = parseDigest(record.manifest);
    const local = (await this.#shares()).get(manifest);
    const { tiers } = await this.usage();
    const reason = mount?.form === 'portable' ? this.#parts.portableReason() : undefined;
    const completion = this.#parts.completion(manifest);
    const pulled = record.kind === 'pulled' && !completion;
    const complete = pulled || (local && local.localFiles >= local.files);
    return {
      ...(mount && { mount }),
      ...(reason !== undefined && { portableReason: reason }),
      ...(completion && { completion }),
      ...(local && { local }),
      manifest,
      references: record.references,
      kind: record.kind,
      state: complete ? 'complete' : 'lazy',
      tiers: tiers.map(({ name, directory }) => ({ name, directory })),
      sources: record.sources.map((source) => this.#parts.stores.report(source)),
      fetched: this.#parts.live.fetched(manifest),
      reads: this.#parts.cache.reads.count(originId(record)),
      waiting: await this.waiting(manifest),
    };
  }

  /** What has been done since the start for images that are mounted or were read. */
  async activity(): Promise<Activity> {
    const shares = await this.#shares();
    const waiting = this.#byImage(this.#waitingReads());
    const images: ImageActivity[] = [];
    for (const record of this.#parts.images.list()) {
      const manifest = parseDigest(record.manifest);
      const mounts = this.#mountsOf(manifest);
      const reads = this.#parts.cache.reads.count(originId(record));
      if (mounts.length === 0 && reads === 0) continue;
      images.push({
        manifest,
        reference: record.references[0] ?? manifest.slice(0, 19),
        mounts,
        fetched: this.#parts.live.fetched(manifest),
        reads,
        waiting: waiting.get(manifest)?.length ?? 0,
        local: shares.get(manifest),
      });
    }
    const hosts = this.#parts.stores.hosts();
    return { at: performance.now(), images, hosts, waiting: this.waitingCount };
  }

  #waitingReads(): ReadInFlight[] {
    const latest = Date.now() - waitingAfterMs;
    return this.#parts.cache.reads.list().filter(({ since }) => since <= latest);
  }

  #byImage(reads: readonly ReadInFlight[]): Map<Digest, ReadInFlight[]> {
    const grouped = new Map<Digest, ReadInFlight[]>();
    if (reads.length === 0) return grouped;
    const images = new Map(
      this.#parts.images.list().map((record) => [originId(record), parseDigest(record.manifest)]),
    );
    for (const read of reads) {
      const image = images.get(read.origin.id);
      if (image) grouped.set(image, [...(grouped.get(image) ?? []), read]);
    }
    return grouped;
  }

  /** By content; empty of an image that is damaged. The tree is walked once for all that are not known yet. */
  async #pathsOf(manifest: Digest, reads: readonly ReadInFlight[]) {
    const known = (content: Digest) => this.#paths.get(`${manifest} ${content}`);
    const unknown = new Set(reads.map(({ content }) => content).filter((each) => !known(each)));
    if (unknown.size > 0) {
      const image = await this.#parts.live.get(manifest).catch(() => undefined);
      const found = image ? contentPaths(image.tree, unknown) : new Map<Digest, string[]>();
      for (const each of unknown) this.#paths.set(`${manifest} ${each}`, found.get(each) ?? []);
    }
    return known;
  }

  #tell(
    manifest: Digest,
    { content, size, offset, length, since, origin }: ReadInFlight,
    paths: (content: Digest) => readonly string[] | undefined,
  ): WaitingRead {
    const trouble = origin.trouble?.();
    const record = this.#parts.images.get(manifest);
    return {
      content,
      size,
      offset,
      length,
      since,
      paths: paths(content) ?? [],
      image: manifest,
      reference: record?.references[0],
      mounts: this.#mountsOf(manifest),
      sources: record?.sources.map((source) => this.#parts.stores.report(source).source) ?? [],
      ...(trouble && { error: describeError(trouble) }),
    };
  }

  #mountsOf(manifest: Digest): string[] {
    return this.#parts
      .mounts()
      .filter((mount) => mount.manifest === manifest && mount.exitCode === undefined)
      .map(({ id }) => id);
  }

  #findMount(name: string): MountSummary | undefined {
    const mounts = this.#parts.mounts();
    const below = ({ target }: MountSummary) => name === target || name.startsWith(`${target}/`);
    return mounts.find(({ id }) => id === name) ?? mounts.find(below);
  }

  #findImage(name: string): ImageRecord | undefined {
    const images = this.#parts.images.list();
    const named = (record: ImageRecord) => record.manifest === name || matches(record, name);
    return images.find(named);
  }

  async #shares(): Promise<Map<string, LocalShare>> {
    const { images } = await this.usage();
    return new Map(
      images.map(({ image, files, bytes, completeFiles, completeBytes, ...partial }) => [
        image,
        {
          files,
          bytes,
          localFiles: completeFiles,
          localBytes: completeBytes,
          partialFiles: partial.partialFiles,
          partialBytes: partial.partialBytes,
        },
      ]),
    );
  }
}

/** As live-image.ts names the origin of an image's files. */
function originId({ digests, manifest }: ImageRecord): string {
  return digests.chunkMap ?? manifest;
}

function matches({ references, manifest }: ImageRecord, name: string): boolean {
  return references.includes(name) || manifest === `sha256:${name}`;
}
