import { LRUCache } from 'lru-cache';
import type { FileRef } from '../cache/file-origin.js';
import {
  type CopyEnd,
  type CopyTarget,
  notCopied,
  type SharedCopy,
  type SharedFiles,
  type SharedOffer,
} from '../cache/shared-files.js';
import type { Digest } from '../digest.js';
import type { ReplacementPolicy } from '../pop-option.js';
import { systemClock } from '../store/clock.js';
import type { SharedTierConfig } from '../tier-option.js';
import { fairTimeout } from './fair-timeout.js';
import { PeerHealth } from './peer-health.js';
import { RememberedTier } from './remembered-tier.js';
import { SharedTierLink, type TierQuestion } from './shared-tier-link.js';
import type { SharedTierAnswer } from './shared-tier-messages.js';
import type { SharedTierCounts, SharedTierReport } from './shared-tier-report.js';
import { TierListing } from './tier-listing.js';
import { TierOffers } from './tier-offers.js';
import { type SiteUses, TierRoom } from './tier-room.js';

/** Milliseconds for a read: so many times its usual late answer, between two bounds; and for a look. */
const deadlineHedges = 4;
const defaultDeadline = { leastMs: 100, mostMs: 500, lookMs: 1000 };
/** Milliseconds between looks whether it is there, and for a file to be put. */
const lookMs = 2000;
const putTimeoutMs = 60_000;
/** Files that are put at a time, and milliseconds of rest when that fails. */
const puttingMax = 3;
const restMs = 15_000;
/** Milliseconds between two words of a node that Redis does not hear (tier-lists.ts). */
const markMs = 120_000;
/** Files that are known to be there, or not; the latter for so many milliseconds. */
const knownMax = 65_536;
const absentMs = 5000;

export interface SharedTierOptions extends SharedTierConfig {
  /** What leaves first. */
  readonly policy?: ReplacementPolicy | undefined;
  /** The node's state: remembers which tier it was. */
  readonly root: string;
  /** Bounds of the time that a read may lose to it, and a look may take, in milliseconds. */
  readonly deadline?: Readonly<Partial<typeof defaultDeadline>>;
  /** It is away, with why; or is there again. */
  readonly onTurn: (why: string | undefined) => void;
}

/**
 * A folder on a file system that all nodes of a site mount, read under a deadline and by another
 * process: whatever becomes of it, a read loses a moment, and soon not even that.
 */
export class SharedTier implements SharedFiles, AsyncDisposable {
  readonly direct: boolean;
  readonly counts: SharedTierCounts = {
    ...{ reads: 0, bytes: 0, absent: 0, late: 0, wrong: 0, stored: 0, storedBytes: 0, failures: 0 },
    ...{ evicted: 0, evictedBytes: 0 },
  };
  readonly #options: SharedTierOptions;
  readonly #health = new PeerHealth(systemClock);
  readonly #link: SharedTierLink;
  readonly #offers = new TierOffers();
  readonly #known = new LRUCache<Digest, boolean>({ max: knownMax });
  readonly #absent = new LRUCache<Digest, boolean>({ max: knownMax, ttl: absentMs });
  readonly #listing: TierListing;
  readonly #room: TierRoom;
  readonly #remembered: RememberedTier;
  #uses: SiteUses | undefined;
  readonly #timer: NodeJS.Timeout;
  #tier: string;
  #away: string | undefined = 'it was not looked at yet';
  #putting = 0;
  #restsUntil = Number.NEGATIVE_INFINITY;
  #markedUntil = Number.NEGATIVE_INFINITY;
  #closed: boolean;

  /** Looks at it once; does not wait for longer than a moment, and never fails. */
  static async open(options: SharedTierOptions): Promise<SharedTier> {
    const tier = new SharedTier(options);
    await tier.#look();
    return tier;
  }

  private constructor(options: SharedTierOptions) {
    this.direct = options.direct;
    this.#options = options;
    this.#closed = false;
    const { directory, freeSpaceFloorBytes, root } = options;
    this.#remembered = new RememberedTier(root, directory);
    this.#tier = this.#remembered.read();
    const start = { directory, freeSpaceFloorBytes };
    this.#link = new SharedTierLink(start, (tier) => this.#isHere(tier));
    this.#listing = new TierListing(this.#link);
    this.#room = new TierRoom(this.#link, {
      ...options,
      clock: systemClock,
      onLeft: (images, bytes) => {
        this.counts.evicted += images;
        this.counts.evictedBytes += bytes;
      },
    });
    this.#timer = setInterval(() => void this.#look(), lookMs).unref();
  }

  get directory(): string {
    return this.#options.directory;
  }

  /** Whether it is there, as far as the last look told. */
  get here(): boolean {
    return this.#away === undefined;
  }

  report(): SharedTierReport {
    const { directory, direct, quotaBytes } = this.#options;
    return {
      ...{ directory, direct, counts: this.counts, foundBytes: this.#room.foundBytes },
      quotaBytes: Number.isFinite(quotaBytes) ? quotaBytes : null,
      ...{ away: this.#away ?? null, waiting: this.#offers.size },
    };
  }

  async read(file: FileRef, offset: number, length: number): Promise<Buffer | undefined> {
    const { content, size } = file;
    if (!this.#mayHave(content)) return undefined;
    const startedAt = performance.now();
    const request: TierQuestion = { ask: 'read', content, size, offset, length };
    const answer = await this.#ask(request, this.#deadlineMs);
    if (!answer) this.#late(startedAt);
    else this.#heard(content, answer, startedAt);
    if (answer?.is !== 'bytes') return undefined;
    this.counts.reads += 1;
    this.counts.bytes += length;
    return bufferOf(answer.bytes);
  }

  copy(file: FileRef, to: CopyTarget, offset: number, length: number): SharedCopy {
    const { content, size } = file;
    if (!this.#mayHave(content)) return notCopied;
    const startedAt = performance.now();
    const request: TierQuestion = { ask: 'copy', content, size, ...to, offset, length };
    const answer = this.#link.ask(request);
    // Who only wants to have it has time, and does not learn how long reads take.
    let waitedSince = length > 0 ? startedAt : undefined;
    const bytes = new Promise<Buffer | undefined>((resolve) => {
      const end = fairTimeout(this.#deadlineMs, () => {
        if (waitedSince !== undefined) this.#late(waitedSince);
        waitedSince = undefined;
        resolve(undefined);
      });
      void answer.then((answer) => {
        end();
        resolve(answer?.is === 'copied' && length > 0 ? bufferOf(answer.bytes) : undefined);
      });
    });
    return { bytes, end: answer.then((answer) => this.#copied(file, answer, waitedSince)) };
  }

  #copied(
    { content, size }: FileRef,
    answer: SharedTierAnswer | undefined,
    waitedSince: number | undefined,
  ): CopyEnd {
    if (!answer) return 'not-kept';
    this.#heard(content, answer, waitedSince);
    if (answer.is === 'there') return 'there';
    if (answer.is === 'failed') return 'unknown';
    if (answer.is !== 'copied') return 'not-kept';
    this.counts.reads += 1;
    this.counts.bytes += size;
    return answer.kept ? 'kept' : 'not-kept';
  }

  endCopies(): void {
    this.#link.giveUp();
  }

  #mayHave(content: Digest): boolean {
    return this.here && this.#health.usable && !this.#absent.has(content);
  }

  #late(startedAt: number): void {
    this.counts.late += 1;
    this.#health.late(performance.now() - startedAt);
  }

  /** @param waitedSince for the answer, and for nothing but reads; undefined also of those that came late */
  #heard(content: Digest, answer: SharedTierAnswer, waitedSince: number | undefined): void {
    if (answer.is === 'failed' && !answer.ours) this.#failed(answer.why);
    if (answer.is !== 'failed' && waitedSince !== undefined) {
      this.#health.answered(performance.now() - waitedSince);
    }
    if (answer.is === 'wrong') this.wrong(content);
    if (answer.is === 'absent') {
      this.counts.absent += 1;
      this.#known.delete(content);
      this.#absent.set(content, true);
    }
    if (answer.is === 'bytes' || answer.is === 'copied') this.#known.set(content, true);
  }

  get #deadlineMs(): number {
    const { leastMs, mostMs } = { ...defaultDeadline, ...this.#options.deadline };
    return Math.min(Math.max(deadlineHedges * this.#health.hedgeMs, leastMs), mostMs);
  }

  get #lookMs(): number {
    return this.#options.deadline?.lookMs ?? defaultDeadline.lookMs;
  }

  /** No read waits for this: that it is late or fails is not counted as if one did. */
  async has({ content, size }: FileRef): Promise<boolean> {
    if (!this.#mayHave(content)) return false;
    const request: TierQuestion = { ask: 'read', content, size, offset: 0, length: 0 };
    const answer = await this.#ask(request, this.#lookMs);
    if (answer && answer.is !== 'failed') this.#heard(content, answer, undefined);
    return answer?.is === 'bytes';
  }

  wrong(content: Digest): void {
    this.counts.wrong += 1;
    this.#known.delete(content);
    this.#absent.set(content, true);
    void this.#ask({ ask: 'remove', content }, putTimeoutMs);
  }

  offer(file: FileRef, path: string): void {
    if (this.#known.has(file.content)) return;
    this.#offers.add({ file, path });
    void this.#putSome();
  }

  offerAll(offers: AsyncIterable<SharedOffer>, count: number): void {
    this.#offers.addList(offers, count);
    void this.#putSome();
  }

  mounted(image: string, files: readonly FileRef[]): void {
    this.#uses?.mounted(image);
    this.#listing.add(image, files);
    if (this.here) void this.#listing.list();
  }

  /** From now on the nodes of a site agree on what leaves. */
  join(uses: SiteUses): void {
    this.#uses = uses;
  }

  /** What a node of the site has announced. */
  announced(message: string): void {
    if (message === `left ${this.#tier}`) {
      this.#known.clear();
      this.#listing.forget();
    }
    if (message === `came ${this.#tier}`) this.#absent.clear();
  }

  /** Never fails. */
  async #putSome(): Promise<void> {
    if (this.#putting >= puttingMax || !this.here || performance.now() < this.#restsUntil) return;
    this.#putting += 1;
    while (await this.#putOne());
    this.#putting -= 1;
  }

  /** @returns false if there is none, or the others have to wait */
  async #putOne(): Promise<boolean> {
    const next = this.#closed ? undefined : await this.#offers.next();
    if (!next || this.#closed) return false;
    const { file, path } = next;
    const { content, size } = file;
    if (this.#known.has(content)) return true;
    const answer = await this.#ask({ ask: 'put', content, size, from: path }, putTimeoutMs);
    if (answer?.is === 'stored' || answer?.is === 'there') {
      this.#known.set(content, true);
      if (answer.is === 'there') return true;
      this.counts.stored += 1;
      this.counts.storedBytes += size;
      this.#room.put(size);
      return true;
    }
    this.counts.failures += 1;
    if (answer?.is === 'failed' && answer.ours) return true;
    this.#offers.putBack(next);
    this.#restsUntil = performance.now() + restMs;
    return false;
  }

  async #look(): Promise<void> {
    if (this.#closed) return;
    const answer = await this.#ask({ ask: 'look', known: this.#tier }, this.#lookMs);
    if (answer?.is !== 'here') {
      this.#turn(answer?.is === 'failed' ? answer.why : `no answer within ${this.#lookMs} ms`);
    }
    if (this.here && this.#uses) {
      void this.#room.make(this.#uses, this.#tier);
      void this.#markUses(this.#uses.untold());
    }
    this.#link.giveUpIfHung();
  }

  async #markUses(images: readonly string[]): Promise<void> {
    if (images.length === 0 || performance.now() < this.#markedUntil) return;
    this.#markedUntil = performance.now() + markMs;
    const answer = await this.#ask({ ask: 'mark', images }, putTimeoutMs);
    if (answer?.is !== 'stored') this.#markedUntil = performance.now() + restMs;
  }

  #isHere(tier: string): void {
    this.#tier = tier;
    this.#remembered.write(tier);
    this.#turn(undefined);
    void this.#listing.list();
    void this.#putSome();
  }

  #failed(why: string): void {
    this.counts.failures += 1;
    this.#health.failed();
    if (!this.#health.usable) this.#turn(why);
  }

  #turn(why: string | undefined): void {
    const was = this.#away;
    this.#away = why;
    if ((was === undefined) !== (why === undefined) && !this.#closed) this.#options.onTurn(why);
  }

  #ask(request: TierQuestion, timeoutMs: number): Promise<SharedTierAnswer | undefined> {
    return this.#link.ask(request, timeoutMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#link[Symbol.dispose]();
  }
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
