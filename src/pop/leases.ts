import { isThinError, ThinError } from '../errors.js';
import {
  type ClaimAnswer,
  type LeaseNews,
  type LeaseText,
  markOf,
  nodeOf,
  parseLease,
  type QuestEvent,
} from './lease-protocol.js';
import { LeaseQuest } from './lease-quest.js';
import { channelPrefix, type FetchName, leaseKeys } from './pop-keys.js';
import type { RedisLink } from './redis-link.js';

/** Milliseconds of a lease; between renewals; and in all, however often it is renewed. */
const leaseMs = 3000;
const renewMs = 1000;
const leaseMaxMs = 20_000;
/** Milliseconds for which it is remembered who has fetched something. */
const markMs = 60_000;
/** Milliseconds for which a node is told of the end of what it waits for. */
const waiterMs = 30_000;
/** What a node finds when it wants something: it fetches it, knows who has it, or is on its own. */
export type Claim =
  | { readonly kind: 'own'; readonly lease: HeldLease }
  | { readonly kind: 'have'; readonly node: string; readonly mark: LeaseText }
  /** `node`: the one that was known to fetch it. */
  | { readonly kind: 'alone'; readonly node: string | undefined };

export interface ClaimOptions {
  /** Looked at again and again: whoever fetches it is told when somebody begins to wait. */
  readonly background: () => boolean;
  /** Milliseconds for which another node's fetch is waited for. */
  readonly patienceMs: number;
  /** Milliseconds for which Redis is waited for, where that is longer than a read waits. */
  readonly answerMs?: number | undefined;
}

/** The right to fetch something for the site. */
export interface HeldLease {
  /** Another node has somebody who waits for it. */
  onHurry: (() => void) | undefined;
  /** Whether the fetch makes no progress: it is not renewed then, and others try. */
  isStuck: () => boolean;
  /** We have it now: all that wait are told, here and elsewhere. Never fails. */
  done(): Promise<void>;
  /** It was not fetched, and is for others to fetch. Never fails. */
  release(): Promise<void>;
}

interface Held extends HeldLease {
  readonly name: FetchName;
  readonly text: LeaseText;
  readonly since: number;
}

/** What this node waits for of another one. */
export interface Waits {
  readonly node: string;
  readonly pieces: number;
  /** Milliseconds for which the first of them has been wanted. */
  readonly longestMs: number;
}

export interface LeaseCounts {
  /** Leases that this node holds. */
  readonly held: number;
  /** What it waits for or asks about. */
  readonly waiting: number;
  /** For whom it waits. */
  readonly waits: readonly Waits[];
}

/**
 * Who fetches what, agreed through Redis (lease-protocol.ts, redis-scripts.ts). It saves traffic and
 * nothing else depends on it: where Redis does not answer, each node is on its own.
 */
export class Leases implements AsyncDisposable {
  readonly #link: RedisLink;
  readonly #node: string;
  readonly #held = new Map<LeaseText, Held>();
  readonly #quests = new Map<FetchName, Set<LeaseQuest>>();
  readonly #timer: NodeJS.Timeout;
  readonly #isDead: (node: string) => boolean;

  constructor(link: RedisLink, node: string, isDead: (node: string) => boolean) {
    this.#link = link;
    this.#node = node;
    this.#isDead = isDead;
    this.#timer = setInterval(() => this.#renewAll(), renewMs).unref();
  }

  get counts(): LeaseCounts {
    const quests = [...this.#quests.values()].flatMap((each) => [...each]);
    const waits = new Map<string, Waits>();
    for (const { wait } of quests) {
      if (!wait) continue;
      const { pieces, longestMs } = waits.get(wait.node) ?? { pieces: 0, longestMs: 0 };
      const longest = Math.max(longestMs, wait.ms);
      waits.set(wait.node, { node: wait.node, pieces: pieces + 1, longestMs: longest });
    }
    return { held: this.#held.size, waiting: quests.length, waits: [...waits.values()] };
  }

  /**
   * Claims something, and waits while another node fetches it.
   * @throws ThinError `canceled` on `signal`
   */
  async claim(name: FetchName, options: ClaimOptions, signal: AbortSignal): Promise<Claim> {
    if (signal.aborted) throw canceled(signal);
    const calls = {
      claim: (insteadOf: LeaseText | undefined) => this.#ask(name, insteadOf, options),
      giveBack: (lease: LeaseText) => void this.#release(name, lease),
      isDead: this.#isDead,
    };
    using quest = new LeaseQuest(calls, options.patienceMs);
    const cancel = () => quest.tell({ on: 'give-up' });
    signal.addEventListener('abort', cancel, { once: true });
    this.#remember(name, quest);
    try {
      const end = await quest.end;
      if (signal.aborted) {
        if (end.at === 'own') await this.#release(name, end.lease);
        throw canceled(signal);
      }
      if (end.at === 'own') return { kind: 'own', lease: this.#hold(name, end.lease) };
      if (end.at === 'have') return { kind: 'have', node: nodeOf(end.mark), mark: end.mark };
      return { kind: 'alone', node: quest.owner };
    } finally {
      signal.removeEventListener('abort', cancel);
      this.#forget(name, quest);
    }
  }

  /** A node was said to have something and has not. Never fails. */
  async disown(name: FetchName, mark: LeaseText): Promise<void> {
    await this.#release(name, mark);
  }

  /** What came on this node's channel. */
  heard(text: string): void {
    const [, verb = '', name = '', rest = ''] = /^(\w+) ([0-9a-f]{32})(?: (.*))?$/.exec(text) ?? [];
    if (verb === 'hurry') {
      for (const held of this.#held.values()) if (held.name === name) held.onHurry?.();
      return;
    }
    const news: LeaseNews | undefined = verb === 'free' ? 'free' : parseLease(rest);
    if (news === undefined) return;
    for (const each of [...(this.#quests.get(name as FetchName) ?? [])]) {
      each.tell({ on: 'news', news });
    }
  }

  /** A node fell silent: what it was fetching is taken over. */
  died(node: string): void {
    this.#tellAll({ on: 'death', node });
  }

  /** Redis does not answer: nobody waits for what cannot be told. */
  lost(): void {
    this.#tellAll({ on: 'give-up' });
  }

  #tellAll(event: QuestEvent): void {
    for (const each of [...this.#quests.values()].flatMap((set) => [...set])) each.tell(event);
  }

  #remember(name: FetchName, quest: LeaseQuest): void {
    const all = this.#quests.get(name) ?? new Set();
    this.#quests.set(name, all.add(quest));
  }

  #forget(name: FetchName, quest: LeaseQuest): void {
    const all = this.#quests.get(name);
    all?.delete(quest);
    if (all?.size === 0) this.#quests.delete(name);
  }

  async #ask(name: FetchName, insteadOf: LeaseText | undefined, options: ClaimOptions) {
    const hurry = options.background() ? '' : `hurry ${name}`;
    const args = [this.#node, leaseMs, waiterMs, insteadOf ?? '', hurry, channelPrefix];
    const onLate = (answer: unknown) => {
      const { ours, lease } = parseAnswer(answer);
      if (ours) void this.#release(name, lease);
    };
    return parseAnswer(
      await this.#link.call('claim', leaseKeys(name), args, {
        onLate,
        timeoutMs: options.answerMs,
      }),
    );
  }

  #hold(name: FetchName, text: LeaseText): HeldLease {
    const held: Held = {
      name,
      text,
      since: performance.now(),
      onHurry: undefined,
      isStuck: () => false,
      done: async () => {
        this.#held.delete(text);
        await this.#publish(name, markOf(text));
      },
      release: async () => {
        this.#held.delete(text);
        await this.#release(name, text);
      },
    };
    this.#held.set(text, held);
    return held;
  }

  async #publish(name: FetchName, mark: LeaseText): Promise<void> {
    const [lease, waiters] = leaseKeys(name);
    const args = [mark, markMs, `done ${name} ${mark}`, channelPrefix];
    await this.#link.call('publish', [lease, waiters], args).catch(ignoreOutage);
  }

  async #release(name: FetchName, text: LeaseText): Promise<void> {
    const [lease, waiters] = leaseKeys(name);
    const args = [text, `free ${name}`, channelPrefix];
    await this.#link.call('release', [lease, waiters], args).catch(ignoreOutage);
  }

  #renewAll(): void {
    const now = performance.now();
    for (const { name, text, since, isStuck } of this.#held.values()) {
      if (isStuck() || now - since > leaseMaxMs) continue;
      const [lease] = leaseKeys(name);
      void this.#link.call('renew', [lease], [text, leaseMs]).catch(ignoreOutage);
    }
  }

  /** Gives back what is held: others need not wait for its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.lost();
    await Promise.all([...this.#held.values()].map((held) => held.release()));
  }
}

/** @throws ThinError `unavailable` for what is no answer of our script */
function parseAnswer(answer: unknown): ClaimAnswer {
  const [ours, text]: unknown[] = Array.isArray(answer) ? answer : [];
  const lease = parseLease(text);
  if (lease !== undefined) return { ours: ours === 1, lease };
  throw new ThinError('unavailable', 'Cannot claim a fetch: Redis answers something else');
}

/** What could not be told expires. */
function ignoreOutage(error: unknown): void {
  if (!isThinError(error)) throw error;
}

/** Of a fetch whose reader gave up. */
export function canceled(signal: AbortSignal): ThinError {
  return new ThinError('canceled', 'Cannot fetch: the reader gave up', { cause: signal.reason });
}
