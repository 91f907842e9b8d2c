import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { DigestSet } from '../cache/digest-set.js';
import type { FileCache } from '../cache/file-cache.js';
import { localTier } from '../cache/layout.js';
import { type Digest, parseDigest } from '../digest.js';
import { describeError, isThinError, ThinError } from '../errors.js';
import type { HotFolder } from '../hot/hot-folder.js';
import { hotRanges } from '../hot/hot-list.js';
import { formatReference, parseReference } from '../image/reference.js';
import type { ControlHandlers } from './control-server.js';
import type { ImageFolder, ImageRecord } from './image-folder.js';
import type { LiveImages } from './live-images.js';
import { type TierChoice, TierChoices } from './tier-choices.js';

/** Milliseconds between two looks at what is in use. */
const lookMs = 2_000;
/** Milliseconds before a tier that took no more is tried again. */
const retryMs = 5 * 60_000;
/** Of the first tier's quota, where nobody says otherwise: the rest is for what is pulled. */
const pinnedShare = 0.5;
/** Files that are pinned, a power of two: 8 bytes of memory each. */
const filesMax = 2 ** 15;

export interface HotTierParts {
  readonly root: string;
  readonly cache: FileCache;
  readonly images: ImageFolder;
  readonly live: Pick<LiveImages, 'get'>;
  readonly hot: HotFolder;
  /** Bytes that the first tier may have. */
  readonly quotaBytes: number;
  /** Manifests of what is mounted. */
  readonly mounted: () => readonly string[];
  /** Whether any container has not started yet: its reads come first. */
  readonly starting: () => boolean;
  /** The kernel looks again where files are: only then does the space of moved ones become free. */
  readonly onMoved: () => Promise<void>;
  readonly log: Logger;
}

export interface PinnedImage {
  readonly manifest: string;
  readonly reference: string;
  readonly choice: TierChoice;
  readonly inUse: boolean;
  /** The older ones count less. */
  readonly starts: number;
  /** Hot files, and their bytes. */
  readonly hotFiles: number;
  readonly hotBytes: number;
  /** Those of them that are pinned, and those that are in the first tier now. */
  readonly pinnedFiles: number;
  readonly pinnedBytes: number;
  readonly fastFiles: number;
}

export interface TierReport {
  readonly tiers: readonly {
    readonly name: string;
    readonly directory: string;
    /** Of its files, and at most. */
    readonly bytes: number;
    readonly quotaBytes: number;
  }[];
  readonly limitBytes: number;
  readonly images: readonly PinnedImage[];
}

interface Plan {
  readonly image: ImageRecord;
  readonly inUse: boolean;
  /** Sizes of its hot files. */
  readonly hot: ReadonlyMap<Digest, number>;
  readonly pinned: readonly Digest[];
}

/**
 * Keeps what starts of images read first in the first tier, and here at all: of images in use, then of
 * those that are started most, as far as a limit goes. When a container has started, the other files
 * of its image leave the first tier for the local one.
 */
export class HotTier implements AsyncDisposable {
  readonly #parts: HotTierParts;
  readonly #choices: TierChoices;
  readonly #closing = new AbortController();
  readonly #loop: Promise<void>;
  /** What was planned for last, and images in use whose other files have left the first tier. */
  #planned = '';
  #pinned: ReadonlySet<Digest> = new Set();
  #emptied = new Set<Digest>();
  #retryAt = 0;

  static async open(parts: HotTierParts): Promise<HotTier> {
    return new HotTier(parts, await TierChoices.open(parts.root));
  }

  private constructor(parts: HotTierParts, choices: TierChoices) {
    this.#parts = parts;
    this.#choices = choices;
    this.#loop = this.#run();
  }

  /** A container of the image starts. Never fails. */
  async started(image: Digest): Promise<void> {
    await this.#choices.started(image).catch((error: unknown) => {
      this.#parts.log.debug({ reason: describeError(error) }, 'a start is not counted');
    });
  }

  /**
   * @param name reference or digest
   * @throws ThinError `not-found` for an image that is not here; `no-space`, `denied`
   */
  async choose(name: string, choice: TierChoice): Promise<void> {
    await this.#choices.choose(this.#find(name), choice);
  }

  /** @param bytes null for a part of the tier @throws ThinError `no-space`, `denied` */
  async setLimit(bytes: number | null): Promise<void> {
    await this.#choices.setLimit(bytes ?? undefined);
  }

  #find(name: string): Digest {
    const images = this.#parts.images.list();
    const known = images.find(({ manifest }) => manifest === name || manifest === `sha256:${name}`);
    if (known) return parseDigest(known.manifest);
    const reference = formatReference(parseReference(name));
    const named = images.find(({ references }) => references.includes(reference));
    if (named) return parseDigest(named.manifest);
    throw new ThinError('not-found', `Cannot pin ${name}: it is not on this node`);
  }

  async report(): Promise<TierReport> {
    const { tiers } = await this.#parts.cache.usage();
    const plans = await this.#plan();
    return {
      tiers: tiers.map(({ name, directory, bytes, quotaBytes }) => ({
        ...{ name, directory, bytes, quotaBytes },
      })),
      limitBytes: this.#limit,
      images: await Promise.all(plans.map((plan) => this.#describe(plan, tiers[0]?.name))),
    };
  }

  async #describe({ image, inUse, hot, pinned }: Plan, first?: string): Promise<PinnedImage> {
    const manifest = parseDigest(image.manifest);
    const places = await Promise.all(
      [...hot.keys()].map((content) => this.#parts.cache.hotFiles.tierOf(content)),
    );
    const bytesOf = (contents: Iterable<Digest>) =>
      [...contents].reduce((sum, content) => sum + (hot.get(content) ?? 0), 0);
    return {
      manifest,
      reference: image.references[0] ?? manifest,
      choice: this.#choices.choiceOf(manifest),
      inUse,
      starts: this.#choices.startsOf(manifest),
      hotFiles: hot.size,
      hotBytes: bytesOf(hot.keys()),
      pinnedFiles: pinned.length,
      pinnedBytes: bytesOf(pinned),
      fastFiles: places.filter((tier) => tier === first).length,
    };
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await delay(lookMs, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted) return;
      await this.#turn(signal).catch((error: unknown) => {
        if (isThinError(error, 'canceled')) return;
        this.#retryAt = performance.now() + retryMs;
        this.#parts.log.warn({ reason: describeError(error) }, 'hot files cannot be moved now');
      });
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const { starting, cache, onMoved } = this.#parts;
    const fast = cache.fastTier?.name;
    if (starting() || performance.now() < this.#retryAt) return;
    // Hot lists change when starts end, and with them who is in use.
    const changedAt = await this.#parts.hot.changedAt();
    const state = JSON.stringify([this.#parts.mounted(), changedAt, this.#choices.revision]);
    if (state === this.#planned) return;
    const plans = await this.#plan();
    const pinned = new Set(plans.flatMap((plan) => plan.pinned));
    if (fast !== undefined) {
      let moved: number | undefined; // not known where it fails
      try {
        const emptied = await this.#empty(plans, pinned, signal);
        moved = emptied + (await cache.hotFiles.move(pinned, fast, signal));
      } finally {
        if (moved !== 0 && !signal.aborted) await onMoved();
      }
    }
    [this.#planned, this.#pinned] = [state, pinned];
  }

  /**
   * Files of images in use that are not pinned leave the first tier, and those that no longer are.
   * @returns how many
   */
  async #empty(
    plans: readonly Plan[],
    pinned: ReadonlySet<Digest>,
    signal: AbortSignal,
  ): Promise<number> {
    const { cache, live } = this.#parts;
    const used = plans.filter(({ inUse, hot }) => inUse && hot.size > 0);
    const images = used.map(({ image }) => parseDigest(image.manifest));
    this.#emptied = new Set(images.filter((image) => this.#emptied.has(image)));
    const dropped = [...this.#pinned].filter((content) => !pinned.has(content));
    let moved = await cache.hotFiles.move(dropped, localTier, signal);
    for (const image of images) {
      if (this.#emptied.has(image)) continue;
      const rest: Digest[] = [];
      for (const { content } of (await live.get(image)).files()) {
        if (!pinned.has(content)) rest.push(content);
      }
      moved += await cache.hotFiles.move(rest, localTier, signal);
      this.#emptied.add(image);
    }
    return moved;
  }

  /** Works out what is pinned, and tells the cache. */
  async #plan(): Promise<Plan[]> {
    const { images, mounted, cache } = this.#parts;
    const used = new Set(mounted());
    const ranked = images.list().map((image) => {
      const manifest = parseDigest(image.manifest);
      const choice = this.#choices.choiceOf(manifest);
      const rank = choice === 'pin' ? 2 : used.has(manifest) ? 1 : 0;
      return { image, choice, rank, starts: this.#choices.startsOf(manifest) };
    });
    ranked.sort((a, b) => b.rank - a.rank || b.starts - a.starts);
    let room = this.#limit;
    const last = new DigestSet(filesMax);
    const plans: Plan[] = [];
    for (const { image, choice } of ranked) {
      const hot = await this.#hotFiles(parseDigest(image.manifest));
      const pinned: Digest[] = [];
      for (const [content, size] of hot) {
        if (choice === 'never' || size > room) continue;
        if (last.add(content)) room -= size;
        pinned.push(content);
      }
      plans.push({ image, hot, pinned, inUse: used.has(image.manifest) });
    }
    cache.hotFiles.keepLast(last);
    return plans;
  }

  /** In the order in which a start reads them. */
  async #hotFiles(image: Digest): Promise<Map<Digest, number>> {
    const files = new Map<Digest, number>();
    for (const list of await this.#parts.hot.of(image)) {
      for (const { content, size } of hotRanges(list)) files.set(content, size);
    }
    return files;
  }

  get #limit(): number {
    return this.#choices.limitBytes ?? Math.floor(this.#parts.quotaBytes * pinnedShare);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#loop;
  }
}

/** What commands ask of it. */
export function tierHandlers(
  tier: HotTier,
): Pick<ControlHandlers, 'tier' | 'tier.choose' | 'tier.limit'> {
  return {
    tier: () => tier.report(),
    'tier.choose': async ({ image, choice }) => {
      await tier.choose(image, choice);
      return null;
    },
    'tier.limit': async ({ bytes }) => {
      await tier.setLimit(bytes);
      return null;
    },
  };
}
