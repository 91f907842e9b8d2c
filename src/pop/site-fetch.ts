import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import { mapBounded } from '../cache/bounded.js';
import type { Agreement } from './agreement.js';
import { type FetchTimes, wholePatienceMs } from './fetch-times.js';
import type { FrameShelf, ShelvedFrame } from './frame-shelf.js';
import { homesMax, servingHomes } from './homes.js';
import type { HeldLease } from './leases.js';
import type { Member } from './members.js';
import type { Gift, Peers } from './peers.js';
import type { FetchName } from './pop-keys.js';

/** Times that something is looked for among the nodes of the site before this one goes on alone. */
const roundsMax = 3;
/** Milliseconds after a stall in which a lease is not renewed. */
const stallMs = 1500;
/** Parts of one piece that are asked for, and given to their homes, at a time. */
const partsInFlight = 8;
const givingMax = 4;
/** Bytes of doubtful parts that are kept to be compared: without them nobody is told. */
const doubtedBytesMax = 16 * 1024 * 1024;

/** Where pieces came from, in pieces and their bytes as sent. */
export interface PopCounts {
  /** From this node's own shelf: it is their home, or has just fetched them. */
  readonly shelf: { frames: number; bytes: number };
  readonly peers: { frames: number; bytes: number };
  /** From the origin, for the whole site. */
  readonly origin: { frames: number; bytes: number };
  /** From the origin, without an agreement: Redis or peers did not answer, or not in time. */
  readonly alone: { frames: number; bytes: number };
}

/** What a fetch from the origin is asked, looked at while it is under way. */
export interface FetchWish {
  readonly background: boolean;
  readonly onStall: (where: 'queued' | 'asked') => void;
}

/** Something that is the same wherever it comes from. */
export interface Piece<T> {
  readonly name: FetchName;
  /** What it is kept and sent as: of `frameBytesMax` bytes each at most. */
  readonly parts: readonly FetchName[];
  /** Nobody waits for it; looked at again and again. */
  readonly background: () => boolean;
  /** What the parts are, as peers gave them, or undefined if they are something else. Never fails. */
  readonly read: (parts: readonly Buffer[]) => Promise<T | undefined>;
  /** From the origin. `parts`: for the others, where they are known to be right. */
  readonly fetch: (wish: FetchWish) => Promise<{ value: T; parts: readonly Buffer[] | undefined }>;
  /** Whether the origin keeps everybody waiting now. */
  readonly stuck: () => boolean;
}

export interface SiteParts {
  readonly agreement: Agreement;
  readonly peers: Peers;
  readonly shelf: FrameShelf;
  readonly counts: PopCounts;
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
    const { leases, ready } = this.#parts.agreement;
    const near = ready ? 'late' : await this.#fromPeers(piece, this.#homes, signal);
    if (typeof near === 'object') return near.value;
    const patienceMs = isWhole(piece) ? wholePatienceMs : this.#parts.fetchTimes.patienceMs;
    for (let round = 0; ready && round < roundsMax; round++) {
      const options = { background: piece.background, patienceMs };
      const claim = await leases.claim(piece.name, options, signal);
      if (claim.kind === 'alone') break;
      if (claim.kind === 'own') return await this.#own(piece, claim.lease, signal);
      const fetched = await this.#fromShelf(piece);
      if (fetched !== undefined) return fetched;
      const holders = (name: FetchName) => this.#holders(name, claim.node);
      const found = await this.#fromPeers(piece, holders, signal, claim.node);
      if (typeof found === 'object') return found.value;
      if (found === 'late') break;
      await leases.disown(piece.name, claim.mark);
    }
    const alone = await this.#fromOrigin(piece, 'alone', {
      onStall: () => {},
      get background() {
        return piece.background();
      },
    });
    return alone.value;
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
    sure?: string,
  ): Promise<{ value: T } | 'absent' | 'late'> {
    if (isWhole(piece)) return await this.#wholeFromPeers(piece, from, signal, sure);
    const { peers, counts, shelf, agreement } = this.#parts;
    const { name, read } = piece;
    let found: { value: T } | undefined;
    const isGood = async (gift: Gift) => {
      const value = await read([gift.bytes]);
      if (value === undefined) peers.lied(name, gift, agreement.members.list());
      else found ??= { value };
      return value !== undefined;
    };
    const gift = await peers.get(name, from(name), isGood, signal, sure);
    if (gift === 'absent' || gift === 'late') return gift;
    count(counts.peers, gift.bytes);
    shelf.remember(name, gift.bytes);
    return found ?? 'late';
  }

  /** Nothing is kept or counted before all of it is known to be right. */
  async #wholeFromPeers<T>(
    piece: Piece<T>,
    from: (name: FetchName) => readonly Member[],
    signal: AbortSignal,
    sure?: string,
  ): Promise<{ value: T } | 'absent' | 'late'> {
    const { peers, counts, shelf } = this.#parts;
    let missing: 'absent' | 'late' | undefined;
    const gifts = await mapBounded(piece.parts, partsInFlight, async (part) => {
      if (missing) return undefined;
      const gift = await peers.get(part, from(part), async () => true, signal, sure);
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

  /** Brings it for the site: from its home if that has kept it, else from the origin. */
  async #own<T>(piece: Piece<T>, lease: HeldLease, signal: AbortSignal): Promise<T> {
    let stalledAt = Number.NEGATIVE_INFINITY;
    let hurried = false;
    lease.isStuck = () => piece.stuck() || performance.now() - stalledAt < stallMs;
    lease.onHurry = () => {
      hurried = true;
    };
    try {
      const kept = await this.#fromPeers(piece, this.#homes, signal);
      const fetched =
        typeof kept === 'object'
          ? { value: kept.value, shared: true }
          : await this.#fromOrigin(piece, 'origin', {
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
    const { shelf, counts, fetchTimes } = this.#parts;
    const startedAt = performance.now();
    const { value, parts } = await piece.fetch(wish);
    if (!parts) return { value, shared: false };
    if (!isWhole(piece)) fetchTimes.took(performance.now() - startedAt);
    for (const [at, part] of piece.parts.entries()) {
      const bytes = parts[at];
      if (!bytes) continue;
      count(counts[why], bytes);
      await this.#compare(part, bytes);
      shelf.remember(part, bytes);
    }
    void mapBounded(piece.parts, givingMax, async (part, at) => {
      const bytes = parts[at];
      if (bytes) await this.#bringHome(part, bytes);
    });
    return { value, shared: true };
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
    const { shelf, peers } = this.#parts;
    await shelf.remove(name);
    await Promise.all(this.#homes(name).map((home) => peers.takeAway(name, home)));
  }

  async #bringHome(name: FetchName, bytes: Buffer): Promise<void> {
    const { agreement, peers, shelf } = this.#parts;
    const [home] = this.#alive(name);
    if (!home) return;
    if (home.node === agreement.node) await shelf.keep(name, bytes);
    else await peers.give(name, bytes, home);
  }

  /** Members that serve, the home of `name` first. */
  #alive(name: FetchName): Member[] {
    return servingHomes(name, this.#parts.agreement.members.list());
  }

  readonly #homes = (name: FetchName): Member[] =>
    this.#others(this.#alive(name).slice(0, homesMax));

  /** The node that is known to have it first. */
  #holders(name: FetchName, node: string): Member[] {
    const holder = this.#parts.agreement.members.list().filter((member) => member.node === node);
    const homes = this.#homes(name).filter((member) => member.node !== node);
    return this.#others([...holder, ...homes]);
  }

  #others(members: readonly Member[]): Member[] {
    return members.filter(({ node }) => node !== this.#parts.agreement.node);
  }
}

/** Whether it is too large for one part: nothing is known of a part by itself. */
function isWhole({ parts }: Piece<unknown>): boolean {
  return parts.length > 1;
}

function count(of: { frames: number; bytes: number }, { length }: Buffer): void {
  of.frames += 1;
  of.bytes += length;
}
