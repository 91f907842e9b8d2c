import { setTimeout as wait } from 'node:timers/promises';
import type { Clock } from '../store/clock.js';
import { fairTimeout } from './fair-timeout.js';
import type { Member } from './members.js';
import { hashOf, type SiteSecret } from './peer-auth.js';
import { PeerHealth } from './peer-health.js';
import { PeerQueue } from './peer-queue.js';
import { PeerRequests } from './peer-requests.js';
import { type FetchName, fetchName, stableNameOf } from './pop-keys.js';
import { type NodeKey, type Voucher, whoVouches } from './voucher.js';

/**
 * After so many times its usual late answer a peer is not waited for any longer, and the frame is
 * fetched from the origin instead: bounds of that in milliseconds.
 */
const patienceHedges = 4;
const patienceMinMs = 300;
/** Of one that is known to have it: it is waited for as long as its heart beats. */
const surePatienceMinMs = 1500;
const patienceMaxMs = 2000;
const surePatienceMaxMs = 6000;
/** Milliseconds for which it is waited for that fell silent: it may only be slow. */
const silentMs = 300;
/** Milliseconds for it to answer anything. */
const presenceMs = 300;
/** Milliseconds for which what is asked of a peer may wait behind other requests to it. */
const queueMaxMs = 2000;
/** Milliseconds after which a peer is asked again that is known to have it, as it is busy or has failed so often. */
const busyMs = 20;
const failuresMax = 2;
/** Frames being given to their homes at a time; more are left out. */
const givingMax = 16;

export interface PeerCounts {
  requests: number;
  /** Asked besides another that was late. */
  hedged: number;
  found: number;
  bytes: number;
  /** Answers that were wrong, unsigned, or did not come. */
  failures: number;
  wrong: number;
  given: number;
}

/** A frame, with who gave it. */
export interface Gift {
  readonly bytes: Buffer;
  readonly member: Member;
  /** Of who gave it to that one, which has not verified it. */
  readonly voucher: Voucher | undefined;
}

/** A node that is known to have something, and milliseconds that another fetch of that would take. */
export interface SureHolder {
  readonly node: string;
  readonly worthMs: number;
}

/**
 * What asking came to: `absent` if all of those that were asked have not got it; `fetching` if one of them
 * is about to have it; `late` if nothing is known.
 */
export type Asked = Gift | 'absent' | 'fetching' | 'late';

/** The other nodes of the site, asked for frames. */
export class Peers implements AsyncDisposable {
  readonly counts: PeerCounts = {
    ...{ requests: 0, hedged: 0, found: 0, bytes: 0, failures: 0, wrong: 0, given: 0 },
  };
  readonly #key: NodeKey;
  readonly #clock: Clock;
  readonly #requests: PeerRequests;
  readonly #health = new Map<string, PeerHealth>();
  readonly #queues = new Map<string, PeerQueue>();
  /** Of the frames that are asked for now. */
  readonly #deaths = new Set<(node: string) => Promise<void>>();
  #giving = 0;

  constructor(secret: SiteSecret, key: NodeKey, clock: Clock) {
    this.#key = key;
    this.#clock = clock;
    this.#requests = new PeerRequests({
      ...{ secret, key, clock, healthOf: (member) => this.#healthOf(member) },
      onFailure: () => {
        this.counts.failures += 1;
      },
    });
  }

  #mayAsk(member: Member, sure: boolean): boolean {
    if (member.info.url === undefined) return false;
    const health = this.#healthOf(member);
    return sure ? health.usableIfSure : member.alive && health.usable;
  }

  /**
   * Asks peers for a frame in this order: the next when one has not got it or fails, and besides it
   * when it is late. What is wrong is for the caller to tell: see {@link Peers.lied}.
   * Never fails.
   * @param sure who is known to have it: it is asked also if it was slow or silent just now
   */
  get(
    name: FetchName,
    members: readonly Member[],
    isGood: (gift: Gift) => Promise<boolean>,
    signal: AbortSignal,
    sure?: SureHolder,
  ): Promise<Asked> {
    const queue = members.filter((member) => this.#mayAsk(member, member.node === sure?.node));
    let absent = queue.length === members.length;
    if (queue.length === 0 || signal.aborted) return Promise.resolve(absent ? 'absent' : 'late');
    return new Promise((resolve) => {
      const over = new AbortController();
      /** With the time at which the request went out. */
      const asked = new Map<Member, number | undefined>();
      let last: Member | undefined;
      let fetching = false;
      let again = failuresMax;
      let endHedge = () => {};
      let endPatience = fairTimeout(queueMaxMs, () => end('late'));
      let isPatient = false;
      const end = (gift: Asked, canceled = false) => {
        if (over.signal.aborted) return;
        endHedge();
        endPatience();
        signal.removeEventListener('abort', giveUp);
        this.#deaths.delete(died);
        over.abort();
        if (!canceled) this.#tooLate(asked);
        resolve(gift);
      };
      const giveUp = () => end('late', true);
      const died = async (node: string) => {
        if (node === sure?.node) await wait(silentMs);
        if (over.signal.aborted) return;
        for (const member of asked.keys()) if (member.node === node) asked.delete(member);
        if (asked.size === 0) next();
      };
      // What waits behind other requests does not make a peer late.
      const sent = (member: Member): void => {
        if (over.signal.aborted || asked.get(member) !== undefined) return;
        asked.set(member, this.#clock.now());
        if (!isPatient) {
          endPatience();
          endPatience = fairTimeout(this.#patienceMs(member, sure), () => end('late'));
        }
        isPatient = true;
        if (member !== last) return;
        endHedge = fairTimeout(this.#healthOf(member).hedgeMs, () => {
          if (queue.length > 0) this.counts.hedged += 1;
          next();
        });
      };
      const ask = async (member: Member, afterMs: number): Promise<void> => {
        if (afterMs > 0) await wait(afterMs);
        const answer = await this.#queueOf(member).ask(name, over.signal, () => sent(member));
        const gift = typeof answer === 'object' ? { ...answer, member } : answer;
        const good = typeof gift === 'object' && (await isGood(gift));
        if (over.signal.aborted) return;
        const failed = gift === undefined && again-- > 0;
        if ((gift === 'busy' || failed) && member.node === sure?.node) return ask(member, busyMs);
        asked.delete(member);
        if (good) return end(gift);
        fetching ||= gift === 'fetching';
        absent &&= gift === 'absent';
        next();
      };
      const next = (): void => {
        endHedge();
        last = queue.shift();
        if (last) {
          asked.set(last, undefined);
          void ask(last, 0);
        } else if (asked.size === 0) {
          end(fetching ? 'fetching' : absent ? 'absent' : 'late');
        }
      };
      signal.addEventListener('abort', giveUp, { once: true });
      this.#deaths.add(died);
      next();
    });
  }

  /** Another was faster, or nobody was in time: whoever is often late is passed over for a while. */
  #tooLate(asked: ReadonlyMap<Member, number | undefined>): void {
    const now = this.#clock.now();
    for (const [member, since] of asked) {
      const health = this.#healthOf(member);
      if (since !== undefined && now - since >= health.hedgeMs) health.late(now - since);
    }
  }

  /** Milliseconds after which the first of several peers is not waited for any longer. */
  #patienceMs(first: Member, sure: SureHolder | undefined): number {
    const usual = patienceHedges * this.#healthOf(first).hedgeMs;
    if (first.node !== sure?.node) {
      return Math.min(Math.max(usual, patienceMinMs), patienceMaxMs);
    }
    return Math.min(Math.max(usual, sure.worthMs, surePatienceMinMs), surePatienceMaxMs);
  }

  /** Gives a frame to its home. Never fails. */
  async give(name: FetchName, bytes: Buffer, member: Member): Promise<void> {
    if (this.#giving >= givingMax || !this.#mayAsk(member, false)) return;
    this.#giving += 1;
    const taken = await this.#requests.give(name, bytes, member);
    this.#giving -= 1;
    if (taken) this.counts.given += 1;
  }

  /**
   * What a peer gave was something else: it is told. To blame is who vouches for it, and without that
   * who gave it: banned if it goes on.
   * @param members among whom who vouches is looked for: one who has left cannot be banned
   */
  lied(name: FetchName, { member, bytes, voucher }: Gift, members: readonly Member[]): void {
    this.blame(name, bytes, voucher, members, member);
    void this.takeAway(name, member);
  }

  /** Tells a peer that what it has is wrong. Never fails. */
  async takeAway(name: FetchName, member: Member): Promise<void> {
    await this.#requests.takeAway(name, member);
  }

  /** The same for what lay on our own shelf. @param giver undefined for that */
  blame(
    name: FetchName,
    bytes: Buffer,
    voucher: Voucher | undefined,
    members: readonly Member[],
    giver?: Member,
  ): void {
    this.counts.wrong += 1;
    const who = voucher && whoVouches(voucher, name, hashOf(bytes));
    const vouching = members.find(({ node }) => who !== undefined && stableNameOf(node) === who);
    const guilty = who === undefined ? giver : vouching;
    if (guilty && who !== this.#key.nodeName) this.#healthOf(guilty).lied();
  }

  #queueOf(member: Member): PeerQueue {
    const known = this.#queues.get(member.node);
    if (known) return known;
    const queue = new PeerQueue(async (names, signal) => {
      this.counts.requests += 1;
      const answer = await this.#requests.frames(names, member, signal);
      for (const entry of typeof answer === 'object' ? answer : []) {
        if (typeof entry !== 'object') continue;
        this.counts.found += 1;
        this.counts.bytes += entry.bytes.length;
      }
      return answer;
    });
    this.#queues.set(member.node, queue);
    return queue;
  }

  #healthOf({ node }: Member): PeerHealth {
    const health = this.#health.get(node) ?? new PeerHealth(this.#clock);
    this.#health.set(node, health);
    return health;
  }

  /** Whether a node answers now, whatever it says. Never fails. */
  async isThere(member: Member): Promise<boolean> {
    if (member.info.url === undefined) return false;
    const late = new AbortController();
    const end = fairTimeout(presenceMs, () => late.abort());
    const anything = fetchName('word', 'is anybody there');
    const answer = await this.#requests.frames([anything], member, late.signal);
    end();
    return answer !== undefined;
  }

  /** A node fell silent: it is not waited for any longer. */
  died(node: string): void {
    for (const told of [...this.#deaths]) void told(node);
  }

  /** Forgets nodes that are no members any more. */
  forget(isMember: (node: string) => boolean): void {
    for (const of of [this.#health, this.#queues]) {
      for (const node of of.keys()) if (!isMember(node)) of.delete(node);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#requests[Symbol.asyncDispose]();
  }
}
