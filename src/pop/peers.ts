import { setTimeout as wait } from 'node:timers/promises';
import { Agent, request } from 'undici';
import type { Clock } from '../store/clock.js';
import { fairTimeout } from './fair-timeout.js';
import type { Member } from './members.js';
import {
  bodyHeader,
  emptyHash,
  hashOf,
  nonceHeader,
  proofHeader,
  type SiteSecret,
  voucherHeader,
} from './peer-auth.js';
import { PeerHealth } from './peer-health.js';
import { frameBytesMax } from './peer-server.js';
import { type FetchName, stableNameOf } from './pop-keys.js';
import { type NodeKey, parseVoucher, type Voucher, whoVouches } from './voucher.js';

/** Connections to one peer. */
const connectionsMax = 16;
/** Milliseconds to connect, and for one answer. */
const connectTimeoutMs = 500;
const answerTimeoutMs = 3000;
/**
 * After so many times its usual late answer a peer is not waited for any longer, and the frame is
 * fetched from the origin instead: bounds of that in milliseconds.
 */
const patienceHedges = 4;
const patienceMinMs = 300;
/** Of one that is known to have it: it is waited for as long as its heart beats. */
const surePatienceMinMs = 1500;
const patienceMaxMs = 2000;
/** Milliseconds after which a busy peer is asked again that is known to have it. */
const busyMs = 20;
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

interface PeerAnswer {
  readonly status: number;
  readonly body: Buffer;
  readonly voucher: Voucher | undefined;
}

/** The other nodes of the site, asked for frames. */
export class Peers implements AsyncDisposable {
  readonly counts: PeerCounts = {
    ...{ requests: 0, hedged: 0, found: 0, bytes: 0, failures: 0, wrong: 0, given: 0 },
  };
  readonly #secret: SiteSecret;
  readonly #key: NodeKey;
  readonly #clock: Clock;
  readonly #health = new Map<string, PeerHealth>();
  readonly #agent = new Agent({
    connections: connectionsMax,
    connect: { timeout: connectTimeoutMs },
    headersTimeout: answerTimeoutMs,
    bodyTimeout: answerTimeoutMs,
    maxResponseSize: frameBytesMax,
  });
  /** Of the frames that are asked for now. */
  readonly #deaths = new Set<(node: string) => void>();
  #giving = 0;

  constructor(secret: SiteSecret, key: NodeKey, clock: Clock) {
    this.#secret = secret;
    this.#key = key;
    this.#clock = clock;
  }

  #mayAsk(member: Member, sure: boolean): boolean {
    if (member.info.url === undefined || !member.alive) return false;
    const health = this.#healthOf(member);
    return sure ? health.usableIfSure : health.usable;
  }

  /**
   * Asks peers for a frame in this order: the next when one has not got it or fails, and besides it
   * when it is late. What is wrong is for the caller to tell: see {@link Peers.lied}.
   * Never fails.
   * @param sure a node that is known to have it: it is asked also if it was slow just now
   * @returns `absent` if all of them were asked, and have not got it; `late` if that is not known
   */
  get(
    name: FetchName,
    members: readonly Member[],
    isGood: (gift: Gift) => Promise<boolean>,
    signal: AbortSignal,
    sure?: string,
  ): Promise<Gift | 'absent' | 'late'> {
    const queue = members.filter((member) => this.#mayAsk(member, member.node === sure));
    let absent = queue.length === members.length;
    if (queue.length === 0 || signal.aborted) return Promise.resolve(absent ? 'absent' : 'late');
    return new Promise((resolve) => {
      const over = new AbortController();
      const asked = new Map<Member, number>();
      let endHedge = () => {};
      const end = (gift: Gift | 'absent' | 'late', canceled = false) => {
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
      const died = (node: string) => {
        for (const member of asked.keys()) if (member.node === node) asked.delete(member);
        if (asked.size === 0) next();
      };
      const ask = async (member: Member, afterMs: number): Promise<void> => {
        if (afterMs > 0) await wait(afterMs);
        const gift = await this.#ask(name, member, over.signal);
        const good = typeof gift === 'object' && (await isGood(gift));
        if (over.signal.aborted) return;
        if (gift === 'busy' && member.node === sure) return ask(member, busyMs);
        asked.delete(member);
        if (good) return end(gift);
        absent &&= gift === 'absent';
        next();
      };
      const next = (): void => {
        endHedge();
        const member = queue.shift();
        if (!member) {
          if (asked.size === 0) end(absent ? 'absent' : 'late');
          return;
        }
        asked.set(member, this.#clock.now());
        endHedge = fairTimeout(this.#healthOf(member).hedgeMs, () => {
          if (queue.length > 0) this.counts.hedged += 1;
          next();
        });
        void ask(member, 0);
      };
      const endPatience = fairTimeout(this.#patienceMs(queue[0], sure), () => end('late'));
      signal.addEventListener('abort', giveUp, { once: true });
      this.#deaths.add(died);
      next();
    });
  }

  /** Another was faster, or nobody was in time: whoever is often late is passed over for a while. */
  #tooLate(asked: ReadonlyMap<Member, number>): void {
    const now = this.#clock.now();
    for (const [member, since] of asked) {
      const health = this.#healthOf(member);
      if (now - since >= health.hedgeMs) health.late(now - since);
    }
  }

  /** Milliseconds after which the first of several peers is not waited for any longer. */
  #patienceMs(first: Member | undefined, sure: string | undefined): number {
    const usual = first ? this.#healthOf(first).hedgeMs : 0;
    const least = first?.node === sure ? surePatienceMinMs : patienceMinMs;
    return Math.min(Math.max(patienceHedges * usual, least), patienceMaxMs);
  }

  /** Gives a frame to its home. Never fails. */
  async give(name: FetchName, bytes: Buffer, member: Member): Promise<void> {
    if (this.#giving >= givingMax || !this.#mayAsk(member, false)) return;
    this.#giving += 1;
    const signal = AbortSignal.timeout(answerTimeoutMs);
    const done = await this.#exchange('PUT', name, bytes, member, signal);
    this.#giving -= 1;
    if (done?.status === 204) this.counts.given += 1;
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
    const signal = AbortSignal.timeout(answerTimeoutMs);
    await this.#exchange('DELETE', name, Buffer.alloc(0), member, signal);
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

  async #ask(name: FetchName, member: Member, signal: AbortSignal) {
    this.counts.requests += 1;
    const answer = await this.#exchange('GET', name, Buffer.alloc(0), member, signal);
    if (answer?.status === 404) return 'absent';
    if (answer?.status === 503) return 'busy';
    if (answer?.status !== 200) return undefined;
    this.counts.found += 1;
    this.counts.bytes += answer.body.length;
    return { bytes: answer.body, member, voucher: answer.voucher };
  }

  /** Undefined for whatever is no signed answer in time. */
  async #exchange(
    method: 'GET' | 'PUT' | 'DELETE',
    name: FetchName,
    body: Buffer,
    member: Member,
    signal: AbortSignal,
  ): Promise<PeerAnswer | undefined> {
    const health = this.#healthOf(member);
    const nonce = this.#secret.newNonce();
    const path = `/v1/frame/${name}`;
    const bodyHash = method === 'PUT' ? hashOf(body) : emptyHash;
    const proof = this.#secret.signRequest(nonce, method, path, bodyHash);
    const given = method === 'PUT' && {
      [bodyHeader]: bodyHash,
      [voucherHeader]: this.#key.vouch(name, bodyHash).toString('hex'),
    };
    const startedAt = this.#clock.now();
    try {
      const {
        statusCode,
        headers,
        body: stream,
      } = await request(`${member.info.url}${path}`, {
        ...{ method, signal, dispatcher: this.#agent },
        headers: { [nonceHeader]: nonce, [proofHeader]: proof, ...given },
        ...(method === 'PUT' && { body }),
      });
      const bytes = Buffer.from(await stream.arrayBuffer());
      const voucher = parseVoucher(headers[voucherHeader]);
      const vouched = voucher?.toString('hex') ?? '';
      const wanted = this.#secret.signAnswer(nonce, statusCode, vouched, hashOf(bytes));
      if (!this.#secret.matches(headers[proofHeader], wanted)) throw new Error('not signed');
      if (statusCode === 503) health.busy();
      else health.answered(this.#clock.now() - startedAt);
      return { status: statusCode, body: bytes, voucher };
    } catch {
      if (!signal.aborted) {
        health.failed();
        this.counts.failures += 1;
      }
      return undefined;
    }
  }

  #healthOf({ node }: Member): PeerHealth {
    const health = this.#health.get(node) ?? new PeerHealth(this.#clock);
    this.#health.set(node, health);
    return health;
  }

  /** A node fell silent: it is not waited for any longer. */
  died(node: string): void {
    for (const told of [...this.#deaths]) told(node);
  }

  /** Forgets nodes that are no members any more. */
  forget(isMember: (node: string) => boolean): void {
    for (const node of this.#health.keys()) if (!isMember(node)) this.#health.delete(node);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }
}
