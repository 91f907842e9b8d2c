import { setTimeout as wait } from 'node:timers/promises';
import type { Clock } from '../store/clock.js';
import { fairTimeout } from './fair-timeout.js';
import type { Member } from './members.js';
import type { PeerHealth } from './peer-health.js';
import type { FrameAnswer, PeerQueue } from './peer-queue.js';
import type { FetchName } from './pop-keys.js';
import type { Voucher } from './voucher.js';

/**
 * After so many times its usual late answer a peer is not waited for any longer, and the frame is
 * fetched from the origin instead: bounds of that in milliseconds.
 */
const patienceHedges = 4;
const patienceMinMs = 300;
const patienceMaxMs = 2000;
/** Of one that is known to have it: bounds in milliseconds, at least what another fetch would take. */
const surePatienceMinMs = 1500;
const surePatienceMaxMs = 6000;
/** Milliseconds for which that one is waited for after it fell silent: it may only be slow. */
const silentMs = 300;
/** Milliseconds after which it is asked again as it is busy or has failed, and how often it may fail. */
const busyMs = 20;
const failuresMax = 2;
/**
 * Milliseconds for which a question may wait behind others to the same peer before the next peer is
 * asked besides, and in all.
 */
const queueHedgeMs = 250;
const queueMaxMs = 2000;

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

export interface PeerQuestion {
  readonly name: FetchName;
  /** In the order in which they are asked. */
  readonly members: readonly Member[];
  readonly isGood: (gift: Gift) => Promise<boolean>;
  /** Who is known to have it: it is asked also if it was slow or silent just now. */
  readonly sure?: SureHolder | undefined;
  /** Nobody waits for it; looked at again and again. */
  readonly background: () => boolean;
}

export interface SearchParts {
  readonly clock: Pick<Clock, 'now'>;
  readonly healthOf: (member: Member) => PeerHealth;
  readonly queueOf: (member: Member) => Pick<PeerQueue, 'ask'>;
  /** The next is asked besides one that is late. */
  readonly onHedge: () => void;
}

/** Where a question to one peer is: behind others that wait, or on its way since then. */
type Standing = { readonly at: 'queued' } | { readonly at: 'sent'; readonly since: number };

/**
 * One frame asked of peers in their order: the next when one has not got it or fails, and besides it
 * when it is late.
 */
export class PeerSearch {
  /** Never fails. */
  readonly result: Promise<Asked>;
  readonly #parts: SearchParts;
  readonly #question: PeerQuestion;
  readonly #over = new AbortController();
  readonly #left: Member[];
  readonly #asked = new Map<Member, Standing>();
  #resolve: (asked: Asked) => void = () => {};
  /** Who was asked last: if it is late, the next is. */
  #last: Member | undefined;
  /** Whose answer the patience is measured by: who was the first to be sent something. */
  #first: Member | undefined;
  #isFetching: boolean;
  #isAbsent: boolean;
  #retries = failuresMax;
  #endHedge = () => {};
  #endPatience = () => {};

  /** @param members those of the question that may be asked */
  constructor(parts: SearchParts, question: PeerQuestion, members: readonly Member[]) {
    this.#parts = parts;
    this.#question = question;
    this.#left = [...members];
    this.#isFetching = false;
    this.#isAbsent = members.length === question.members.length;
    this.result = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#endPatience = fairTimeout(queueMaxMs, () => this.#end('late'));
    this.#next();
  }

  /** Nobody waits for it any more: that says nothing about who was asked. */
  giveUp(): void {
    this.#asked.clear();
    this.#end('late');
  }

  /** A node fell silent: it is not waited for any longer, or not for long. */
  async died(node: string): Promise<void> {
    if (node === this.#question.sure?.node) await this.#pause(silentMs);
    if (this.#isOver) return;
    for (const member of this.#asked.keys()) if (member.node === node) this.#asked.delete(member);
    if (this.#asked.size === 0) this.#next();
  }

  get #isOver(): boolean {
    return this.#over.signal.aborted;
  }

  #next(): void {
    this.#endHedge();
    const member = this.#left.shift();
    if (member) {
      this.#last = member;
      this.#asked.set(member, { at: 'queued' });
      this.#hedgeAfter(queueHedgeMs);
      void this.#ask(member);
    } else if (this.#asked.size === 0) {
      this.#end(this.#isFetching ? 'fetching' : this.#isAbsent ? 'absent' : 'late');
    }
  }

  async #ask(member: Member): Promise<void> {
    const { isGood, sure } = this.#question;
    const answer = await this.#answerOf(member);
    const gift = typeof answer === 'object' ? { ...answer, member } : answer;
    const good = typeof gift === 'object' && (await isGood(gift));
    if (this.#isOver) return;
    if (this.#asked.has(member) && member.node === sure?.node && this.#mayRetry(gift)) {
      await this.#pause(busyMs);
      if (!this.#isOver) await this.#ask(member);
      return;
    }
    this.#asked.delete(member);
    if (good) return this.#end(gift);
    this.#isFetching ||= gift === 'fetching';
    this.#isAbsent &&= gift === 'absent';
    this.#next();
  }

  #answerOf(member: Member): Promise<FrameAnswer> {
    const { name, background } = this.#question;
    let times = 0;
    const onSent = () => {
      times += 1;
      this.#sent(member, times > 1);
    };
    const wish = { signal: this.#over.signal, background, onSent };
    return this.#parts.queueOf(member).ask(name, wish);
  }

  /** Who has it is only busy, or has not failed too often. */
  #mayRetry(gift: Gift | FrameAnswer): boolean {
    return gift === 'busy' || (gift === undefined && this.#retries-- > 0);
  }

  /**
   * What waits behind other requests does not make a peer late, and neither does what it asked to be
   * asked for again: it has answered. What we ask again by ourselves is waited for since the first time.
   */
  #sent(member: Member, wasAnswered: boolean): void {
    const standing = this.#asked.get(member);
    if (this.#isOver || (standing?.at === 'sent' && !wasAnswered)) return;
    this.#asked.set(member, { at: 'sent', since: this.#parts.clock.now() });
    this.#first ??= member;
    if (member === this.#first) {
      this.#endPatience();
      this.#endPatience = fairTimeout(this.#patienceMs(member), () => this.#end('late'));
    }
    if (member === this.#last) this.#hedgeAfter(this.#parts.healthOf(member).hedgeMs);
  }

  #hedgeAfter(milliseconds: number): void {
    this.#endHedge();
    if (this.#left.length === 0) return;
    this.#endHedge = fairTimeout(milliseconds, () => {
      this.#parts.onHedge();
      this.#next();
    });
  }

  /** Milliseconds after which the first of several peers is not waited for any longer. */
  #patienceMs(first: Member): number {
    const { sure } = this.#question;
    const usual = patienceHedges * this.#parts.healthOf(first).hedgeMs;
    if (first.node !== sure?.node) {
      return Math.min(Math.max(usual, patienceMinMs), patienceMaxMs);
    }
    return Math.min(Math.max(usual, sure.worthMs, surePatienceMinMs), surePatienceMaxMs);
  }

  #end(asked: Asked): void {
    if (this.#isOver) return;
    this.#endHedge();
    this.#endPatience();
    this.#over.abort();
    this.#tellLate();
    this.#resolve(asked);
  }

  /** Another was faster, or nobody was in time: whoever is often late is passed over for a while. */
  #tellLate(): void {
    const now = this.#parts.clock.now();
    for (const [member, standing] of this.#asked) {
      const health = this.#parts.healthOf(member);
      const late = standing.at === 'sent' ? now - standing.since : 0;
      if (late >= health.hedgeMs) health.late(late);
    }
  }

  /** Ends early when all is over. */
  async #pause(milliseconds: number): Promise<void> {
    const { signal } = this.#over;
    await wait(milliseconds, undefined, { signal }).catch(() => undefined);
  }
}
