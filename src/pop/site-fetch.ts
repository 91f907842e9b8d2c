import { setMaxListeners } from 'node:events';
import type { Agreement } from './agreement.js';
import type { FetchTimes } from './fetch-times.js';
import type { FrameShelf } from './frame-shelf.js';
import type { HeldLease } from './leases.js';
import type { Member } from './members.js';
import type { Peers } from './peers.js';
import type { FetchName } from './pop-keys.js';
import { homesOf } from './rendezvous.js';

/** Times that something is looked for among the nodes of the site before this one goes on alone. */
const roundsMax = 3;
/** Homes that are asked: the second was the first until a node has come. */
const homesMax = 2;
/** Milliseconds after a stall in which a lease is not renewed. */
const stallMs = 1500;

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
  /** Nobody waits for it; looked at again and again. */
  readonly background: () => boolean;
  /** What the bytes of a peer are, or undefined if they are something else. Never fails. */
  readonly read: (bytes: Buffer) => Promise<T | undefined>;
  /** From the origin. `bytes`: for the others, if they are known to be right. */
  readonly fetch: (wish: FetchWish) => Promise<{ value: T; bytes: Buffer | undefined }>;
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
    const near = ready ? 'late' : await this.#fromPeers(piece, this.#homes(piece.name), signal);
    if (typeof near === 'object') return near.value;
    for (let round = 0; ready && round < roundsMax; round++) {
      const { patienceMs } = this.#parts.fetchTimes;
      const claim = await leases.claim(
        piece.name,
        { background: piece.background, patienceMs },
        signal,
      );
      if (claim.kind === 'alone') break;
      if (claim.kind === 'own') return await this.#own(piece, claim.lease, signal);
      const fetched = await this.#fromShelf(piece);
      if (fetched !== undefined) return fetched;
      const holders = this.#holders(piece.name, claim.node);
      const found = await this.#fromPeers(piece, holders, signal, claim.node);
      if (typeof found === 'object') return found.value;
      if (found === 'late') break;
      await leases.disown(piece.name, claim.mark);
    }
    return await this.#fromOrigin(piece, 'alone', {
      onStall: () => {},
      get background() {
        return piece.background();
      },
    });
  }

  async #fromShelf<T>({ name, read }: Piece<T>): Promise<T | undefined> {
    const { shelf, counts } = this.#parts;
    const bytes = await shelf.get(name);
    if (!bytes) return undefined;
    const value = await read(bytes);
    if (value === undefined) await shelf.remove(name);
    else count(counts.shelf, bytes);
    return value;
  }

  async #fromPeers<T>(
    { name, read }: Piece<T>,
    members: readonly Member[],
    signal: AbortSignal,
    sure?: string,
  ): Promise<{ value: T } | 'absent' | 'late'> {
    const { peers, counts, shelf } = this.#parts;
    let found: { value: T } | undefined;
    const isGood = async (bytes: Buffer, member: Member) => {
      const value = await read(bytes);
      if (value === undefined) peers.lied(name, member);
      else found ??= { value };
      return value !== undefined;
    };
    const gift = await peers.get(name, members, isGood, signal, sure);
    if (gift === 'absent' || gift === 'late') return gift;
    count(counts.peers, gift.bytes);
    shelf.remember(name, gift.bytes);
    return found ?? 'late';
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
      const kept = await this.#fromPeers(piece, this.#homes(piece.name), signal);
      const value =
        typeof kept === 'object'
          ? kept.value
          : await this.#fromOrigin(piece, 'origin', {
              onStall: (where) => {
                if (where === 'asked') stalledAt = performance.now();
              },
              get background() {
                return !hurried && piece.background();
              },
            });
      // Our own read does not wait until the others are told.
      void (this.#parts.shelf.recent(piece.name) ? lease.done() : lease.release());
      return value;
    } catch (error) {
      void lease.release();
      throw error;
    }
  }

  /** What is right is there for the others from now on. */
  async #fromOrigin<T>(piece: Piece<T>, why: 'origin' | 'alone', wish: FetchWish): Promise<T> {
    const { shelf, counts, fetchTimes } = this.#parts;
    const startedAt = performance.now();
    const { value, bytes } = await piece.fetch(wish);
    if (!bytes) return value;
    count(counts[why], bytes);
    fetchTimes.took(performance.now() - startedAt);
    shelf.remember(piece.name, bytes);
    this.#bringHome(piece.name, bytes);
    return value;
  }

  #bringHome(name: FetchName, bytes: Buffer): void {
    const { agreement, peers, shelf } = this.#parts;
    const [home] = this.#alive(name);
    if (!home) return;
    if (home.node === agreement.node) void shelf.keep(name, bytes);
    else void peers.give(name, bytes, home);
  }

  /** Members that serve, the home of `name` first. */
  #alive(name: FetchName): Member[] {
    const members = this.#parts.agreement.members.list();
    const serving = members.filter(({ alive, info }) => alive && info.url !== undefined);
    return homesOf(name, serving, ({ node }) => node.split('.')[0] ?? node);
  }

  #homes(name: FetchName): Member[] {
    return this.#others(this.#alive(name).slice(0, homesMax));
  }

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

function count(of: { frames: number; bytes: number }, { length }: Buffer): void {
  of.frames += 1;
  of.bytes += length;
}
