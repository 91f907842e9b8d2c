import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../digest.js';
import type { CachedImages } from './cached-images.js';
import type { UsePosition } from './index-eviction.js';
import type { CacheIndex } from './index-thread.js';
import { type CacheLayout, fanOut, hexName } from './layout.js';
import type { TierFiles } from './tier-files.js';
import type { TierSpace } from './tier-space.js';

/** Files looked at in one step. */
const pageFiles = 256;
/** Files whose first use elsewhere waits to be verified; beyond it the scrub finds them. */
const firstUsesMax = 20_000;

export interface GcResult {
  readonly images: readonly string[];
  readonly bytes: number;
}

/** Work on the whole cache that nobody waits for, or only the person who asked for it. */
export class CacheUpkeep implements AsyncDisposable {
  readonly #layout: CacheLayout;
  readonly #tier: TierFiles;
  readonly #index: CacheIndex;
  readonly #spaces: readonly TierSpace[];
  readonly #images: CachedImages;
  readonly #wrong: (content: Digest) => Promise<void>;
  readonly #sync: () => Promise<unknown>;
  readonly #failed: (error: unknown) => void;
  readonly #stop = new AbortController();
  readonly #firstUses = new Set<Digest>();
  #background: Promise<void> = Promise.resolve();
  #verifying: Promise<void> | undefined;

  constructor(parts: {
    layout: CacheLayout;
    tier: TierFiles;
    index: CacheIndex;
    spaces: readonly TierSpace[];
    images: CachedImages;
    wrong: (content: Digest) => Promise<void>;
    /** Makes durable what was placed before. */
    sync: () => Promise<unknown>;
    failed: (error: unknown) => void;
  }) {
    this.#layout = parts.layout;
    this.#tier = parts.tier;
    this.#index = parts.index;
    this.#spaces = parts.spaces;
    this.#images = parts.images;
    this.#wrong = parts.wrong;
    this.#sync = parts.sync;
    this.#failed = parts.failed;
  }

  /** Verifies in the background what was set aside at the start. */
  settleSuspects(): void {
    this.#background = this.#settleAll().catch(this.#failed);
  }

  /** What cannot be read stays set aside, and keeps nothing else from being settled. */
  async #settleAll(): Promise<void> {
    let left = 0;
    const leave = (error: unknown): void => {
      left += 1;
      this.#failed(error);
    };
    for (const { suspect } of this.#layout.tiers) {
      for (const name of fanOut) {
        for (const hex of await readdir(join(suspect, name))) {
          if (this.#stop.signal.aborted) return;
          if (hexName.test(hex)) await this.#tier.settle(`sha256:${hex}` as Digest).catch(leave);
        }
      }
    }
    if (left === 0) this.#tier.allSettled();
    await this.#sync();
  }

  /**
   * A file was opened by somebody who reads without verifying (the FUSE workers): verifies it once
   * behind that, small files only; it is removed if it is wrong.
   */
  verifyFirstUse(content: Digest): void {
    if (this.#tier.isVerified(content) || this.#firstUses.size >= firstUsesMax) return;
    this.#firstUses.add(content);
    this.#verifying ??= this.#verifyFirstUses()
      .catch(this.#failed)
      .finally(() => {
        this.#verifying = undefined;
      });
  }

  async #verifyFirstUses(): Promise<void> {
    for (const content of this.#firstUses) {
      if (this.#stop.signal.aborted) return;
      await this.#verifyFirstUse(content).catch(this.#failed); // the others are looked at all the same
      this.#firstUses.delete(content);
    }
  }

  async #verifyFirstUse(content: Digest): Promise<void> {
    const file = await this.#tier.open(content);
    if (file?.small === true && !(await file.verify())) await this.#wrong(content);
  }

  /** Forgets images that are neither kept nor mounted by a living process, and their files. */
  async gc(keepImages: Iterable<string>): Promise<GcResult> {
    await this.#background;
    await this.#images.listed();
    for (const lease of await this.#images.leases()) {
      if (!lease.alive) await this.#images.release(lease);
    }
    const keep = [...keepImages];
    const images = await this.#index.call('keepImages', keep);
    for (const image of images) await this.#index.call('unpinImage', image);
    let bytes = 0;
    for (const space of this.#spaces) bytes += await this.#removeOrphans(space);
    return { images, bytes };
  }

  async #removeOrphans({ tier, evictor }: TierSpace): Promise<number> {
    let bytes = 0;
    let at: UsePosition = { used: 0, id: 0 };
    for (;;) {
      const page = await this.#index.call('orphans', tier.name, at, pageFiles);
      const last = page.at(-1);
      if (last === undefined) return bytes;
      at = last;
      bytes += await evictor.removeAll(page);
    }
  }

  /** Ends when nothing that was set aside at the start waits to be verified. */
  async settled(): Promise<void> {
    await this.#background;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#background;
    await this.#verifying;
  }
}
