import { setMaxListeners } from 'node:events';
import { mapBounded } from '../cache/bounded.js';
import { decodeFrame } from '../chunk/codec.js';
import type { Frame } from '../chunk/frame.js';
import { isThinError } from '../errors.js';
import type { RunOptions } from '../store/frame-run.js';
import type { CountedFrameSource, FrameFetchOptions } from '../store/frame-source.js';
import type { Agreement } from './agreement.js';
import type { FetchTimes } from './fetch-times.js';
import type { FrameShelf } from './frame-shelf.js';
import type { HeldLease } from './leases.js';
import type { Member } from './members.js';
import type { Peers } from './peers.js';
import { type FetchName, frameName } from './pop-keys.js';
import { homesOf } from './rendezvous.js';

/** Times that a frame is looked for among the nodes of the site before this one goes on alone. */
const roundsMax = 3;
/** Homes of a frame that are asked: the second was the first until a node has come. */
const homesMax = 2;
/** Frames of one run that are fetched at a time. */
const runFramesInFlight = 24;
/** Milliseconds after a stall in which a lease is not renewed. */
const stallMs = 1500;
/** Where frames came from, in frames and their compressed bytes. */
export interface PopCounts {
  /** From this node's own shelf: it is the frame's home, or has just fetched it. */
  readonly shelf: { frames: number; bytes: number };
  readonly peers: { frames: number; bytes: number };
  /** From the origin, for the whole site. */
  readonly origin: { frames: number; bytes: number };
  /** From the origin, without an agreement: Redis or peers did not answer, or not in time. */
  readonly alone: { frames: number; bytes: number };
}

export interface PopParts {
  readonly agreement: Agreement;
  readonly peers: Peers;
  readonly shelf: FrameShelf;
  readonly counts: PopCounts;
  readonly fetchTimes: FetchTimes;
}

/**
 * Frames of an image from the nodes of the site, and from its origin where none has them: each is
 * fetched by one node, handed to those who wait for it, and kept by its home. Whatever of this does
 * not work, the origin is asked as if it were not there.
 */
export class PopFrames implements CountedFrameSource {
  readonly #origin: CountedFrameSource;
  readonly #parts: PopParts;

  constructor(origin: CountedFrameSource, parts: PopParts) {
    this.#origin = origin;
    this.#parts = parts;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    const { isSound } = options;
    const name = frameName(frame);
    if (options.fresh || !isSound) return await this.#origin.fetchFrame(frame, signal, options);
    const here = await this.#fromShelf(name, frame, isSound);
    if (here) return here;
    setMaxListeners(0, signal); // a run's one signal is that of all its frames
    const { leases, ready } = this.#parts.agreement;
    if (!ready) {
      const near = await this.#fromPeers(name, frame, this.#homes(name), isSound, signal);
      if (Buffer.isBuffer(near)) return near;
    }
    for (let round = 0; ready && round < roundsMax; round++) {
      const background = () => options.background ?? false;
      const patienceMs = this.#parts.fetchTimes.patienceMs;
      const claim = await leases.claim(name, { background, patienceMs }, signal);
      if (claim.kind === 'alone') break;
      if (claim.kind === 'own') return await this.#own(name, frame, claim.lease, signal, options);
      const fetched = await this.#fromShelf(name, frame, isSound);
      if (fetched) return fetched;
      const holders = this.#holders(name, claim.node);
      const found = await this.#fromPeers(name, frame, holders, isSound, signal, claim.node);
      if (Buffer.isBuffer(found)) return found;
      if (found === 'late') break;
      await leases.disown(name, claim.mark);
    }
    return await this.#fromOrigin(name, frame, 'alone', signal, options);
  }

  async #fromShelf(name: FetchName, frame: Frame, isSound: (plain: Buffer) => boolean) {
    const { shelf, counts } = this.#parts;
    const wire = await shelf.get(name);
    if (!wire) return undefined;
    const plain = await decoded(frame, wire, isSound);
    if (plain) count(counts.shelf, wire);
    else await shelf.remove(name);
    return plain;
  }

  async #fromPeers(
    name: FetchName,
    frame: Frame,
    members: readonly Member[],
    isSound: (plain: Buffer) => boolean,
    signal: AbortSignal,
    sure?: string,
  ): Promise<Buffer | 'absent' | 'late'> {
    const { peers, counts } = this.#parts;
    let plain: Buffer | undefined;
    const isGood = async (wire: Buffer, member: Member) => {
      const found = await decoded(frame, wire, isSound);
      if (found) plain ??= found;
      else peers.lied(name, member);
      return found !== undefined;
    };
    const gift = await peers.get(name, members, isGood, signal, sure);
    if (gift === 'absent' || gift === 'late') return gift;
    count(counts.peers, gift.bytes);
    this.#parts.shelf.remember(name, gift.bytes);
    return plain ?? 'late';
  }

  /** Brings it for the site: from its home if that has kept it, else from the origin. */
  async #own(
    name: FetchName,
    frame: Frame,
    lease: HeldLease,
    signal: AbortSignal,
    options: FrameFetchOptions,
  ): Promise<Buffer> {
    let stalledAt = Number.NEGATIVE_INFINITY;
    let hurried = false;
    lease.isStuck = () =>
      this.#origin.trouble() !== undefined || performance.now() - stalledAt < stallMs;
    lease.onHurry = () => {
      hurried = true;
    };
    const owned: FrameFetchOptions = {
      ...options,
      onStall: (where) => {
        if (where === 'asked') stalledAt = performance.now();
        options.onStall?.(where);
      },
      get background() {
        return !hurried && options.background;
      },
    };
    try {
      const { isSound = () => false } = options;
      const kept = await this.#fromPeers(name, frame, this.#homes(name), isSound, signal);
      const plain = Buffer.isBuffer(kept)
        ? kept
        : await this.#fromOrigin(name, frame, 'origin', signal, owned);
      // Who waits has time: our own read goes first.
      void (this.#parts.shelf.recent(name) ? lease.done() : lease.release());
      return plain;
    } catch (error) {
      void lease.release();
      throw error;
    }
  }

  /** What is sound is there for the others from now on. */
  async #fromOrigin(
    name: FetchName,
    frame: Frame,
    why: 'origin' | 'alone',
    signal: AbortSignal,
    options: FrameFetchOptions,
  ): Promise<Buffer> {
    const { shelf, counts, fetchTimes } = this.#parts;
    const startedAt = performance.now();
    let wire: Buffer | undefined;
    const plain = await this.#origin.fetchFrame(frame, signal, {
      isSound: options.isSound,
      onStall: options.onStall,
      onWire: (bytes) => {
        wire = bytes;
      },
      get background() {
        return options.background;
      },
    });
    if (!wire) return plain;
    count(counts[why], wire);
    fetchTimes.took(performance.now() - startedAt);
    if (options.isSound?.(plain) === true) {
      shelf.remember(name, wire);
      this.#bringHome(name, wire);
    }
    return plain;
  }

  /** By one request only where there is nobody to share with: others may be fetching some of them. */
  async fetchRun(frames: readonly Frame[], signal: AbortSignal, options: RunOptions) {
    if (!this.#parts.agreement.ready) return await this.#origin.fetchRun(frames, signal, options);
    await mapBounded(frames, runFramesInFlight, async (frame) => {
      const plain = this.fetchFrame(frame, signal, {
        isSound: (bytes) => options.isSound?.(frame, bytes) ?? false,
        get background() {
          return options.background;
        },
      });
      options.onFrame(frame, plain);
      await plain.catch(() => undefined); // told to who waits for the frame
    });
  }

  link() {
    return this.#origin.link();
  }

  #bringHome(name: FetchName, wire: Buffer): void {
    const { agreement, peers, shelf } = this.#parts;
    const [home] = this.#alive(name);
    if (!home) return;
    if (home.node === agreement.node) void shelf.keep(name, wire);
    else void peers.give(name, wire, home);
  }

  /** Members that serve, the home of `name` first. */
  #alive(name: FetchName): Member[] {
    const members = this.#parts.agreement.members.list();
    const serving = members.filter(({ alive, info }) => alive && info.url !== undefined);
    return homesOf(name, serving, ({ node }) => node.split('.')[0] ?? node);
  }

  /** Whom to ask first. */
  #homes(name: FetchName): Member[] {
    return this.#others(this.#alive(name).slice(0, homesMax));
  }

  #holders(name: FetchName, node: string): Member[] {
    const holder = this.#parts.agreement.members.list().filter((member) => member.node === node);
    const homes = this.#homes(name).filter((member) => member.node !== node);
    return this.#others([...holder, ...homes]);
  }

  #others(members: readonly Member[]): Member[] {
    return members.filter(({ node }) => node !== this.#parts.agreement.node);
  }

  counts() {
    return this.#origin.counts();
  }

  trouble() {
    return this.#origin.trouble();
  }

  toString(): string {
    return `the site, then ${this.#origin}`;
  }
}

function count(of: { frames: number; bytes: number }, wire: Buffer): void {
  of.frames += 1;
  of.bytes += wire.length;
}

/** Undefined if it is not what the frame should be. */
async function decoded(frame: Frame, wire: Buffer, isSound: (plain: Buffer) => boolean) {
  if (wire.length !== frame.length) return undefined;
  try {
    const plain = await decodeFrame(frame, wire);
    return isSound(plain) ? plain : undefined;
  } catch (error) {
    if (isThinError(error)) return undefined;
    throw error;
  }
}
