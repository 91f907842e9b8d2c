import { setMaxListeners } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { mapBounded } from '../cache/bounded.js';
import type { Agreement } from './agreement.js';
import { type FetchTimes, wholePatienceMs } from './fetch-times.js';
import type { FrameShelf, ShelvedFrame } from './frame-shelf.js';
import { holdersAndHomes, homeOf, isHolderGone, otherHomes } from './homes.js';
import type { InHand } from './in-hand.js';
import { canceled, type HeldLease } from './leases.js';
import type { Member } from './members.js';
import type { Asked, Gift, SureHolder } from './peer-search.js';
import type { Peers } from './peers.js';
import type { FetchWish, Piece } from './piece.js';
import type { AloneCounts, PopCounts } from './pop-counts.js';
import type { FetchName } from './pop-keys.js';

/** Times that something is looked for among the nodes of the site before this one goes on alone. */
const roundsMax = 3;
/** Milliseconds for which Redis is waited for by what nobody waits for, or what takes long anyway. */
const unhurriedAnswerMs = 250;
/** Milliseconds after a stall in which a lease is not renewed. */
const stallMs = 1500;
/** Parts of one piece that are asked for, and given to their homes, at a time. */
const partsInFlight = 8;
const givingMax = 4;
/** Milliseconds between two questions to a node that is fetching what is wanted. */
const fetchingLookMs = 50;
/** Bytes of doubtful parts that are kept to be compared: without them nobody is told. */
const doubtedBytesMax = 16 * 1024 * 1024;

export interface SiteParts {
  readonly agreement: Agreement;
  readonly peers: Peers;
  readonly shelf: FrameShelf;
  readonly counts: PopCounts;
  readonly aloneCounts: AloneCounts;
  readonly inHand: InHand;
  readonly fetchTimes: FetchTimes;
}

/**
 * Brings pieces from the nodes of the site, and from their origin where none has them: each is
 * fetched by one node, handed to those who wait for it, and kept by its home. Whatever of this does
 * not work, the origin is asked as if it were not there.
 */
export class SiteFetch {
  readonly #parts: SiteParts;
  /** Parts of a whole that was wrong, until it is known which of them was. */
  readonly #doubted = new LRUCache<FetchName, Gift>({
    maxSize: doubtedBytesMax,
    sizeCalculation: ({ bytes }) => bytes.length + 1,
  });

  constructor(parts: SiteParts) {
    this.#parts = parts;
  }

  /** Whether there are others to share with. */
  get ready(): boolean {
    return this.#parts.agreement.ready;
  }

  /** @throws whatever `piece.fetch` throws; ThinError `canceled` */
  async get<T>(piece: Piece<T>, signal: AbortSignal): Promise<T> {
    const here = await this.#fromShelf(piece);
    if (here !== undefined) return here;
    setMaxListeners(0, signal); // the one signal of a run is that of all its frames
    // Most of what the site has is at its home: nobody needs to agree on that.
    const { agreement } = this.#parts;
    const homes = (name: FetchName) => otherHomes(agreement, piece.region ?? name);
    const near = await this.#fromPeers(piece, homes, signal);
    if (typeof near === 'object') return near.value;
    const agreed = await this.#agreed(piece, signal);
    if (typeof agreed === 'object') return agreed.value;
    if (signal.aborted) throw canceled(signal);
    this.#parts.aloneCounts[agreed] += 1;
    const alone = await this.#fromOrigin(piece, 'alone', {
      onStall: () => {},
      get background() {
        return piece.background();
      },
    });
    return alone.value;
  }

  /** Fetched by whoever the site agrees on; otherwise why not. */
  async #agreed<T>(
    piece: Piece<T>,
    signal: AbortSignal,
  ): Promise<{ value: T } | keyof AloneCounts> {
    const { leases, ready } = this.#parts.agreement;
    const patienceMs = piece.whole ? wholePatienceMs : this.#parts.fetchTimes.patienceMs;
    const isUnhurried = () => piece.whole || piece.background();
    if (!ready) return 'unready';
    for (let round = 0; round < roundsMax; round++) {
      const answerMs = isUnhurried() ? unhurriedAnswerMs : undefined;
      const options = { background: piece.background, patienceMs, answerMs };
      const claimedAt = performance.now();
      const claim = await leases.claim(piece.name, options, signal);
      if (claim.kind === 'own') return { value: await this.#own(piece, claim.lease) };
      const fetched = await this.#fromShelf(piece);
      if (fetched !== undefined) return { value: fetched };
      const { node } = claim;
      if (node === undefined) return 'unanswered';
      const leftMs = patienceMs - (performance.now() - claimedAt);
      const found = await this.#fromHolder(piece, node, leftMs, signal);
      if (typeof found === 'object') return found;
      if (claim.kind === 'alone') return 'fetching';
      if (found === 'late' && !isHolderGone(this.#parts.agreement, node)) {
        // It has it: another fetch from the origin would only help somebody who waits.
        if (piece.background()) continue;
        break;
      }
      await leases.disown(piece.name, claim.mark);
    }
    return 'notGiven';
  }

  /**
   * From who has it, or was fetching it when nothing more was heard of that: while it says that it gets
   * on with it, it will be there before another fetch would have brought it.
   * @param patienceMs of the claim, what is left of it: it is asked once in any case
   */
  async #fromHolder<T>(
    piece: Piece<T>,
    node: string,
    patienceMs: number,
    signal: AbortSignal,
  ): Promise<{ value: T } | 'absent' | 'late'> {
    const { agreement } = this.#parts;
    const holders = (name: FetchName) => holdersAndHomes(agreement, piece.region ?? name, node);
    const startedAt = performance.now();
    for (;;) {
      const found = await this.#fromPeers(piece, holders, signal, node);
      if (found !== 'fetching') return found;
      if (signal.aborted || performance.now() - startedAt > patienceMs) return 'late';
      await wait(fetchingLookMs, undefined, { signal }).catch(() => undefined); // looked at above
    }
  }

  async #fromShelf<T>({ parts, read }: Piece<T>): Promise<T | undefined> {
    const { shelf, counts } = this.#parts;
    const found: ShelvedFrame[] = [];
    for (const part of parts) {
      const kept = await shelf.get(part);
      if (!kept) return undefined;
      found.push(kept);
    }
    const value = await read(found.map(({ bytes }) => bytes));
    for (const [at, kept] of found.entries()) {
      if (value !== undefined) count(counts.shelf, kept.bytes);
      // Of several it is not known yet which of them is wrong: see #compare.
      else if (parts.length === 1) await this.#discard(parts[at], kept);
    }
    return value;
  }

  async #discard(name: FetchName | undefined, { bytes, voucher }: ShelvedFrame): Promise<void> {
    const { shelf, peers, agreement } = this.#parts;
    if (name === undefined) return;
    peers.blame(name, bytes, voucher, agreement.members.list());
    await shelf.remove(name);
  }

  /** @param from whom to ask for a part, in this order */
  async #fromPeers<T>(
    piece: Piece<T>,
    from: (name: FetchName) => readonly Member[],
    signal: AbortSignal,
    holder?: string,
  ): Promise<{ value: T } | Exclude<Asked, Gift>> {
    const [name, ...more] = piece.parts;
    const sure = this.#sure(holder);
    if (name === undefined || more.length > 0) {
      return await this.#wholeFromPeers(piece, from, signal, sure);
    }
    const { peers, counts, shelf, agreement } = this.#parts;
    const { read, background } = piece;
    let found: { value: T } | undefined;
    const isGood = async (gift: Gift) => {
      const value = await read([gift.bytes]);
      if (value === undefined) peers.lied(name, gift, agreement.members.list());
      else found ??= { value };
      return value !== undefined;
    };
    const question = { name, members: from(name), isGood, sure, background };
    const gift = await peers.get(question, signal);
    if (typeof gift === 'string') return gift;
    count(counts.peers, gift.bytes);
    shelf.remember(name, gift.bytes);
    return found ?? 'late';
  }

  /** Who has something is waited for as long as the origin would take, too. */
  #sure(node: string | undefined): SureHolder | undefined {
    return node === undefined ? undefined : { node, worthMs: this.#parts.fetchTimes.lateMs ?? 0 };
  }

  /** Nothing is kept or counted before all of it is known to be right. */
  async #wholeFromPeers<T>(
    piece: Piece<T>,
    from: (name: FetchName) => readonly Member[],
    signal: AbortSignal,
    sure: SureHolder | undefined,
  ): Promise<{ value: T } | Exclude<Asked, Gift>> {
    const { peers, counts, shelf } = this.#parts;
    const { background } = piece;
    let missing: Exclude<Asked, Gift> | undefined;
    const gifts = await mapBounded(piece.parts, partsInFlight, async (part) => {
      if (missing) return undefined;
      const members = from(part);
      const question = { name: part, members, isGood: async () => true, sure, background };
      const gift = await peers.get(question, signal);
      if (typeof gift === 'object') return gift;
      missing = gift;
      return undefined;
    });
    const all = gifts.filter((gift) => gift !== undefined);
    if (missing) return missing;
    const value = await piece.read(all.map(({ bytes }) => bytes));
    if (value === undefined) {
      for (const [at, part] of piece.parts.entries()) this.#doubt(part, all[at]);
      return 'absent';
    }
    for (const [at, part] of piece.parts.entries()) {
      const { bytes } = all[at] ?? {};
      if (!bytes) continue;
      count(counts.peers, bytes);
      shelf.remember(part, bytes);
    }
    return { value };
  }

  #doubt(part: FetchName, gift: Gift | undefined): void {
    if (gift) this.#doubted.set(part, gift);
  }

  /** Brings it for the site from the origin. */
  async #own<T>(piece: Piece<T>, lease: HeldLease): Promise<T> {
    let stalledAt = Number.NEGATIVE_INFINITY;
    let hurried = false;
    lease.isStuck = () => piece.stuck() || performance.now() - stalledAt < stallMs;
    lease.onHurry = () => {
      hurried = true;
    };
    try {
      const fetched = await this.#fromOrigin(piece, 'origin', {
        onStall: (where) => {
          if (where === 'asked') stalledAt = performance.now();
        },
        get background() {
          return !hurried && piece.background();
        },
      });
      // Our own read does not wait until the others are told.
      void (fetched.shared ? lease.done() : lease.release());
      return fetched.value;
    } catch (error) {
      void lease.release();
      throw error;
    }
  }

  /** What is right is there for the others from now on. */
  async #fromOrigin<T>(
    piece: Piece<T>,
    why: 'origin' | 'alone',
    wish: FetchWish,
  ): Promise<{ value: T; shared: boolean }> {
    const end = this.#parts.inHand.begin([piece.name, ...piece.parts], piece.stuck);
    try {
      const startedAt = performance.now();
      const { value, parts } = await piece.fetch(wish);
      if (!parts) return { value, shared: false };
      if (!piece.whole) this.#parts.fetchTimes.took(performance.now() - startedAt);
      await this.#share(piece, parts, why);
      return { value, shared: true };
    } finally {
      end();
    }
  }

  async #share(
    piece: Piece<unknown>,
    parts: readonly Buffer[],
    why: 'origin' | 'alone',
  ): Promise<void> {
    const { shelf, counts } = this.#parts;
    for (const [at, part] of piece.parts.entries()) {
      const bytes = parts[at];
      if (!bytes) continue;
      count(counts[why], bytes);
      await this.#compare(part, bytes);
      shelf.remember(part, bytes);
    }
    void mapBounded(piece.parts, givingMax, async (part, at) => {
      const bytes = parts[at];
      if (bytes) await this.#bringHome(part, bytes, piece.region);
    });
  }

  /** Now that it is known what a part is: who has something else is told, here and elsewhere. */
  async #compare(part: FetchName, bytes: Buffer): Promise<void> {
    const { shelf, peers, agreement } = this.#parts;
    const gift = this.#doubted.get(part);
    this.#doubted.delete(part);
    if (gift && !gift.bytes.equals(bytes)) peers.lied(part, gift, agreement.members.list());
    const kept = shelf.has(part) ? await shelf.get(part) : undefined;
    if (kept && !kept.bytes.equals(bytes)) await this.#discard(part, kept);
  }

  /** It is wrong, or may be: nobody is to have it from the site. Never fails. */
  async takeAway(name: FetchName): Promise<void> {
    const { shelf, peers, agreement } = this.#parts;
    await shelf.remove(name);
    await Promise.all(otherHomes(agreement, name).map((home) => peers.takeAway(name, home)));
  }

  async #bringHome(name: FetchName, bytes: Buffer, region = name): Promise<void> {
    const { agreement, peers, shelf } = this.#parts;
    const home = homeOf(agreement, region);
    if (!home) return;
    if (home.node === agreement.node) await shelf.keep(name, bytes);
    else await peers.give(name, bytes, home);
  }
}

function count(of: { frames: number; bytes: number }, { length }: Buffer): void {
  of.frames += 1;
  of.bytes += length;
}
