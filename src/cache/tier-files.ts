import { LRUCache } from 'lru-cache';
import type { FileSpan, StoredFile } from '../../native-bindings/file-store.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { CompleteFile } from './complete-file.js';
import { type AnyDigest, DigestSet } from './digest-set.js';
import type { FileRef } from './file-origin.js';
import { localTier } from './layout.js';
import type { Tier } from './tier.js';

/** Complete files held open; the default limit of a process is 1024 descriptors, soft. */
const openFilesMax = 512;
/** Contents remembered as verified (1 MiB); a forgotten one is verified again at its next use. */
const verifiedMax = 2 ** 17;

/** Searches in a row that a removal elsewhere may spoil; a file is moved once in a long while. */
const searchesMax = 3;

/** Files that a tier is asked for by one call, which a slow disk has to answer in time. */
const askedTogether = 64;

/** What becomes of files that were set aside. */
export interface SettledEvents {
  /** It is good and has its name back. */
  settled(file: FileRef, tier: string): void;
  /** It was not what its name says, and is removed. */
  dismissed(content: Digest): void;
}

/** The complete files of all tiers: each is in one of them. */
export class TierFiles {
  /** In the order in which files are looked for. */
  readonly tiers: readonly Tier[];
  /** Where files go if nobody says otherwise. */
  readonly local: Tier;
  readonly #open = new LRUCache<Digest, CompleteFile>({
    max: openFilesMax,
    dispose: (file, content) => {
      if (file.verified) this.#verified.add(content);
      void file.close();
    },
  });
  /** Since the cache was opened. */
  readonly #verified = new DigestSet(verifiedMax);
  readonly #events: SettledEvents;
  readonly #settling = new Map<Digest, Promise<CompleteFile | undefined>>();
  #suspects: boolean;
  #removals = 0;

  /** @param suspects whether files that were set aside wait to be looked at */
  constructor(tiers: readonly Tier[], suspects: boolean, events: SettledEvents) {
    this.tiers = tiers;
    this.local = findTier(tiers, localTier);
    this.#suspects = suspects;
    this.#events = events;
  }

  /** @throws ThinError `invalid` if there is none of that name */
  tier(name: string): Tier {
    return findTier(this.tiers, name);
  }

  /** The file if it is open already; costs no call. */
  opened(content: Digest): CompleteFile | undefined {
    return this.#open.get(content);
  }

  /** True where reads of the file were going on at this moment. */
  busy(content: Digest): boolean {
    return this.#open.peek(content)?.busy === true;
  }

  isVerified(content: Digest): boolean {
    return this.#open.peek(content)?.verified === true || this.#verified.has(content);
  }

  /** Somebody else has placed the file, and knows that it is right. */
  verified(content: AnyDigest): void {
    this.#verified.add(content);
  }

  /** What is in a tier that cannot be asked is as good as missing. */
  async has(content: Digest): Promise<boolean> {
    if (this.#open.has(content)) return true;
    if ((await this.find(content).catch(() => undefined)) !== undefined) return true;
    if (!this.#suspects) return false;
    return (await this.settle(content).catch(() => undefined)) !== undefined;
  }

  /** The tier that has the file now. */
  find(content: Digest): Promise<Tier | undefined> {
    return this.#search(async (tier) => ((await tier.exists(content)) ? tier : undefined));
  }

  /**
   * What `look` finds first; a file that is moved past the search meanwhile is not missed, nor is one for
   * the sake of a tier that fails.
   */
  async #search<T>(look: (tier: Tier) => Promise<T | undefined>): Promise<T | undefined> {
    for (let attempt = 1; ; attempt++) {
      const removals = this.#removals;
      const failures: unknown[] = [];
      for (const tier of this.tiers) {
        const found = await look(tier).catch((error: unknown) => void failures.push(error));
        if (found !== undefined) return found;
      }
      if (removals !== this.#removals && attempt < searchesMax) continue;
      if (failures.length > 0) throw failures[0];
      return undefined;
    }
  }

  /** Those of some contents that are in another tier than the local one, as far as it answers. Never fails. */
  async elsewhere(contents: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    const found = new Set<Digest>();
    for (const tier of this.tiers) {
      if (tier === this.local) continue;
      for (let at = 0; at < contents.length; at += askedTogether) {
        const asked = contents.slice(at, at + askedTogether);
        const missing = new Set(await tier.missing(asked).catch(() => asked));
        for (const content of asked) if (!missing.has(content)) found.add(content);
      }
    }
    return found;
  }

  /** Undefined if the file is not here. */
  async open(content: Digest): Promise<CompleteFile | undefined> {
    const open = this.#open.get(content) ?? (await this.#openPlaced(content));
    return open === undefined && this.#suspects ? this.settle(content) : open;
  }

  async #openPlaced(content: Digest): Promise<CompleteFile | undefined> {
    const verified = this.#verified.has(content);
    const file = await this.#search((tier) => tier.open(content, verified));
    return file && this.#remember(file);
  }

  /** The one open object of a content: of two that were opened at once the second is closed. */
  #remember(file: CompleteFile): CompleteFile {
    const other = this.#open.get(file.file.content);
    if (other === undefined) this.#open.set(file.file.content, file);
    else void file.close();
    return other ?? file;
  }

  /** Gives a suspect file its name back if it is what it should be, and removes it otherwise. */
  settle(content: Digest): Promise<CompleteFile | undefined> {
    const running = this.#settling.get(content);
    if (running !== undefined) return running;
    const settling = this.#settle(content).finally(() => this.#settling.delete(content));
    this.#settling.set(content, settling);
    return settling;
  }

  async #settle(content: Digest): Promise<CompleteFile | undefined> {
    for (const tier of this.tiers) {
      const file = await tier.openSuspect(content);
      if (file === undefined) continue;
      if (await this.#restored(file, tier)) return this.#remember(file);
    }
    return this.#openPlaced(content);
  }

  /** False for a file that was closed and removed, or that cannot be read: that is thrown. */
  async #restored(file: CompleteFile, tier: Tier): Promise<boolean> {
    const { content } = file.file;
    let isRestored = false;
    try {
      const good = await file.verify();
      // Another may have been fetched since, or be in another tier: it was being moved.
      if (good && (await this.find(content)) === undefined) {
        await tier.restore(content);
        isRestored = true;
        this.#events.settled(file.file, tier.name);
        return true;
      }
      await tier.removeSuspect(content);
      if (!good) this.#events.dismissed(content);
      return false;
    } finally {
      if (!isRestored) await file.close();
    }
  }

  /** Reads a whole file again whatever is known of it; undefined if it is not here. */
  async scrub(content: Digest): Promise<boolean | undefined> {
    const tier = await this.find(content);
    const file = await tier?.open(content, false);
    try {
      return await file?.verify();
    } finally {
      await file?.close();
    }
  }

  /** Nothing that was set aside is left. */
  allSettled(): void {
    this.#suspects = false;
  }

  /**
   * Keeps a file, in the local tier, whose bytes were verified to be `content`.
   * @returns false if it was here
   */
  async put(content: Digest, bytes: Buffer): Promise<boolean> {
    if ((await this.elsewhere([content])).size > 0) return false;
    if (await this.local.exists(content)) return false;
    return this.place(this.local, content, bytes);
  }

  /**
   * Keeps files, in the local tier, that lie in `bytes`, were verified there, and are not elsewhere.
   * @returns of each what it is, and whether it is new
   */
  async putAll(bytes: Buffer, files: readonly FileSpan[]): Promise<readonly StoredFile[]> {
    const stored = await this.local.storeAll(bytes, files);
    for (const { content, isNew } of stored) if (isNew) this.#verified.add(content);
    return stored;
  }

  /** Keeps a file that is not here. */
  async place(tier: Tier, content: Digest, bytes: Buffer): Promise<boolean> {
    return this.create(tier, content, async (fd) => {
      await tier.disk.write(fd, bytes, 0);
      return true;
    });
  }

  /** Makes a file of what `fill` writes, which it has verified. */
  async create(tier: Tier, content: Digest, fill: (fd: number) => Promise<boolean>) {
    const placed = await tier.create(content, fill);
    if (placed) this.#verified.add(content);
    return placed;
  }

  /** Gives the file at `path`, verified to be `content`, its final name in a tier of that disk. */
  async adopt(tier: Tier, path: string, content: Digest): Promise<void> {
    await tier.adopt(path, content);
    this.#verified.add(content);
  }

  /** Removes a file, also while it is being read: readers keep what they have open. */
  async remove(content: Digest, from: readonly Tier[] = this.tiers): Promise<void> {
    this.#open.delete(content);
    this.#verified.delete(content);
    this.#removals++;
    for (const tier of from) await tier.remove(content);
  }

  close(): void {
    this.#open.clear();
  }
}

function findTier(tiers: readonly Tier[], wanted: string): Tier {
  const tier = tiers.find(({ name }) => name === wanted);
  if (tier !== undefined) return tier;
  const names = tiers.map(({ name }) => name).join(', ');
  throw new ThinError('invalid', `Cannot use tier "${wanted}": there is none (wanted ${names})`);
}
