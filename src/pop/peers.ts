import type { Clock } from '../store/clock.js';
import { fairTimeout } from './fair-timeout.js';
import { isGone, type Member } from './members.js';
import { hashOf, type SiteSecret } from './peer-auth.js';
import { PeerHealth } from './peer-health.js';
import { PeerQueue } from './peer-queue.js';
import { PeerRequests } from './peer-requests.js';
import {
  type Asked,
  type Gift,
  type PeerQuestion,
  PeerSearch,
  type SearchParts,
} from './peer-search.js';
import { type FetchName, stableNameOf } from './pop-keys.js';
import { type NodeKey, type Voucher, whoVouches } from './voucher.js';

/** Milliseconds for one that is silent to answer anything. */
const presenceMs = 300;
/** Frames being given to their homes at a time; more are left out. */
const givingMax = 16;

export interface PeerCounts {
  requests: number;
  /** Frames that were asked for by these requests: by several where one is late, busy, or has more to say. */
  asked: number;
  /** Frames that another was asked for as well, as one was late. */
  hedged: number;
  found: number;
  bytes: number;
  /** Answers that were wrong, unsigned, or did not come. */
  failures: number;
  wrong: number;
  given: number;
}

/** The other nodes of the site, asked for frames. */
export class Peers implements AsyncDisposable {
  readonly counts: PeerCounts = {
    ...{ requests: 0, asked: 0, hedged: 0, found: 0, bytes: 0, failures: 0, wrong: 0, given: 0 },
  };
  readonly #key: NodeKey;
  readonly #clock: Clock;
  readonly #requests: PeerRequests;
  readonly #health = new Map<string, PeerHealth>();
  readonly #queues = new Map<string, { member: Member; readonly queue: PeerQueue }>();
  /** Under way. */
  readonly #searches = new Set<PeerSearch>();
  readonly #searching: SearchParts;
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
    this.#searching = {
      clock,
      healthOf: (member) => this.#healthOf(member),
      queueOf: (member) => this.#queueOf(member),
      onHedge: () => {
        this.counts.hedged += 1;
      },
    };
  }

  #mayAsk(member: Member, sure: boolean): boolean {
    if (member.info.url === undefined) return false;
    const health = this.#healthOf(member);
    return sure ? health.usableIfSure && !isGone(member) : member.alive && health.usable;
  }

  /** Asks peers for a frame. What is wrong is for the caller to tell: see {@link Peers.lied}. Never fails. */
  async get(question: PeerQuestion, signal: AbortSignal): Promise<Asked> {
    if (signal.aborted) return 'late';
    const { members, sure } = question;
    const usable = members.filter((member) => this.#mayAsk(member, member.node === sure?.node));
    const search = new PeerSearch(this.#searching, question, usable);
    const giveUp = () => search.giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    this.#searches.add(search);
    try {
      return await search.result;
    } finally {
      this.#searches.delete(search);
      signal.removeEventListener('abort', giveUp);
    }
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
    if (known) {
      known.member = member; // it may be reached elsewhere now
      return known.queue;
    }
    const queue = new PeerQueue((names, signal) => this.#ask(names, asked.member, signal));
    const asked = { member, queue };
    this.#queues.set(member.node, asked);
    return queue;
  }

  async #ask(names: readonly FetchName[], member: Member, signal: AbortSignal) {
    this.counts.requests += 1;
    this.counts.asked += names.length;
    const answer = await this.#requests.frames(names, member, signal);
    for (const entry of typeof answer === 'object' ? answer : []) {
      if (typeof entry !== 'object') continue;
      this.counts.found += 1;
      this.counts.bytes += entry.bytes.length;
    }
    return answer;
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
    const answers = await this.#requests.isThere(member, late.signal);
    end();
    return answers;
  }

  /** A node fell silent: it is not waited for any longer. */
  died(node: string): void {
    for (const search of [...this.#searches]) void search.died(node);
  }

  /** Forgets nodes that are no members any more. */
  forget(isMember: (node: string) => boolean): void {
    for (const known of [this.#health, this.#queues]) {
      for (const node of known.keys()) if (!isMember(node)) known.delete(node);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#requests[Symbol.asyncDispose]();
  }
}
