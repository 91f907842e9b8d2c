import { z } from 'zod';
import type { ThinError } from '../errors.js';
import { isThinError } from '../errors.js';
import { memberKeys } from './pop-keys.js';
import type { RedisLink } from './redis-link.js';

/** Milliseconds between two heartbeats, and for one to be answered. */
const beatMs = 200;
const beatTimeoutMs = 1000;
/** Milliseconds without a heartbeat after which a node that does not answer either is taken for dead. */
const deadAfterMs = 500;
/** Milliseconds after which one that was taken for dead is not asked either for what it alone may have. */
const goneAfterMs = 3000;
/** Milliseconds without a heartbeat after which this node itself asks for no more leases. */
const joinedMs = 3000;
/** Milliseconds after which it is forgotten. */
const forgottenAfterMs = 30_000;
/** Nodes of one site. */
const membersMax = 1000;
/** Milliseconds after which what a node says of itself is asked for again. */
const infoLifeMs = 10_000;
const infoTimeoutMs = 500;

/** What a node says of itself. */
const memberInfo = z.object({
  /** Where it serves the others; undefined if it does not. */
  url: z.string().max(300).optional(),
  /** Name for people. */
  host: z.string().max(300),
  /** Milliseconds since 1970. */
  startedAt: z.number(),
  /** What it has and does for the site; undefined of a node that does not tell. */
  work: z
    .object({
      /** Pieces that it keeps for the others, and their bytes. */
      kept: z.object({ frames: z.number(), bytes: z.number() }),
      /** Pieces that it is fetching for the site, and that it waits for. */
      held: z.number(),
      waiting: z.number(),
    })
    .optional(),
});
export type MemberInfo = z.infer<typeof memberInfo>;

/** A node, this one too. */
export interface Member {
  readonly node: string;
  readonly info: MemberInfo;
  /** Milliseconds since it was heard of. */
  readonly silentMs: number;
  readonly alive: boolean;
}

/** Whether nothing is to be had of it any more: one that is dead may also be very slow. */
export function isGone({ alive, silentMs }: Member): boolean {
  return !alive && silentMs > goneAfterMs;
}

export interface MemberEvents {
  /** What this node says of itself now. */
  readonly info: () => MemberInfo;
  /** Whether a node that is silent answers when it is asked itself. Never fails. */
  readonly isThere: (member: Member) => Promise<boolean>;
  /** Told once of each node that has fallen silent. */
  readonly onDeath: (node: string) => void;
}

interface Heard {
  /** On our clock. */
  readonly lastAt: number;
  info: MemberInfo | undefined;
  infoAt: number;
}

/**
 * The nodes of the site, as their heartbeats in Redis tell. While Redis does not answer, who was here
 * last is believed to be here: peers are asked directly, and one that is gone does not answer.
 */
export class Members implements AsyncDisposable {
  readonly #link: RedisLink;
  readonly #node: string;
  readonly #events: MemberEvents;
  readonly #heard = new Map<string, Heard>();
  readonly #dead = new Set<string>();
  /** Silent, and being asked. */
  readonly #suspects = new Map<string, Promise<void>>();
  /** What this node says of itself: it takes a look at all that is under way. */
  #own: { readonly info: MemberInfo; readonly at: number } | undefined;
  #beatAt = Number.NEGATIVE_INFINITY;
  /** Since when heartbeats go through without a gap. */
  #steadySince = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  /** The beat that is under way. */
  #beating: Promise<void> | undefined;
  #closed: boolean;

  constructor(link: RedisLink, node: string, events: MemberEvents) {
    this.#link = link;
    this.#node = node;
    this.#events = events;
    this.#closed = false;
  }

  /** Begins to beat; ends when the first beat has been tried. */
  async start(): Promise<void> {
    await this.#beat();
    this.#timer = setInterval(() => void this.#beat(), beatMs).unref();
  }

  /** Whether Redis has heard of us, as far as we had time to tell it. */
  get joined(): boolean {
    return performance.now() - this.#beatAt < joinedMs;
  }

  isDead(node: string): boolean {
    return this.#dead.has(node);
  }

  list(): Member[] {
    const now = performance.now();
    return [...this.#heard].flatMap(([node, { lastAt, info }]) => {
      const known = node === this.#node ? this.#ownInfo(now) : info;
      if (known === undefined) return [];
      return [{ node, info: known, silentMs: now - lastAt, alive: !this.#dead.has(node) }];
    });
  }

  #ownInfo(now: number): MemberInfo {
    const known = this.#own;
    if (known && now - known.at < beatMs) return known.info;
    const info = this.#events.info();
    this.#own = { info, at: now };
    return info;
  }

  /**
   * One at a time, the others are left out: of beats that overtake each other the older would have
   * the last word, and a Redis that is slow would have more and more of them to answer.
   */
  #beat(): Promise<void> {
    this.#beating ??= this.#beatNow().finally(() => {
      this.#beating = undefined;
    });
    return this.#beating;
  }

  async #beatNow(): Promise<void> {
    try {
      const args = [this.#node, JSON.stringify(this.#events.info()), forgottenAfterMs, membersMax];
      const answer = await this.#link.call('beat', memberKeys, args, {
        timeoutMs: beatTimeoutMs,
        probe: true,
      });
      this.#took(parseAges(answer));
      await this.#learnInfos();
    } catch (error) {
      if (!isThinError(error)) throw error;
    }
  }

  #took(ages: ReadonlyMap<string, number>): void {
    const now = performance.now();
    // After a gap all others look silent: they could not be heard either.
    if (now - this.#beatAt > deadAfterMs) this.#steadySince = now;
    this.#beatAt = now;
    for (const [node, age] of ages) {
      const { info, infoAt = Number.NEGATIVE_INFINITY } = this.#heard.get(node) ?? {};
      this.#heard.set(node, { lastAt: now - age, info, infoAt });
      if (age <= deadAfterMs) this.#dead.delete(node);
    }
    if (now - this.#steadySince < deadAfterMs) return;
    for (const [node, { lastAt }] of this.#heard) {
      if (!this.#dead.has(node) && now - lastAt > deadAfterMs) this.#suspect(node);
      if (ages.has(node) || now - lastAt < forgottenAfterMs) continue;
      this.#heard.delete(node);
      this.#dead.delete(node);
    }
  }

  #suspect(node: string): void {
    if (this.#suspects.has(node)) return;
    const asking = this.#askSilent(node).finally(() => this.#suspects.delete(node));
    this.#suspects.set(node, asking);
  }

  /** Its heartbeats may be late where machines are full: it is asked before others do its work again. */
  async #askSilent(node: string): Promise<void> {
    const member = this.list().find((each) => each.node === node);
    const isThere = member !== undefined && (await this.#events.isThere(member));
    const { lastAt } = this.#heard.get(node) ?? { lastAt: Number.POSITIVE_INFINITY };
    if (isThere || this.#closed || performance.now() - lastAt <= deadAfterMs) return;
    this.#dead.add(node);
    this.#events.onDeath(node);
  }

  async #learnInfos(): Promise<void> {
    const now = performance.now();
    const stale = [...this.#heard].filter(([, { infoAt }]) => now - infoAt > infoLifeMs);
    if (stale.length === 0) return;
    const nodes = stale.map(([node]) => node);
    const [, info] = memberKeys;
    const answer = await this.#link.call('infos', [info], nodes, {
      timeoutMs: infoTimeoutMs,
      probe: true,
    });
    for (const [at, text] of (Array.isArray(answer) ? answer : []).entries()) {
      const heard = this.#heard.get(nodes[at] ?? '');
      if (!heard) continue;
      heard.info = parseInfo(text) ?? heard.info;
      heard.infoAt = now;
    }
  }

  /** Tells the others that this node is gone, if that can be done quickly. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#beating;
    await Promise.all(this.#suspects.values());
    await this.#link.call('leave', memberKeys, [this.#node]).catch((error: ThinError) => error);
  }
}

function parseAges(answer: unknown): Map<string, number> {
  const items: unknown[] = Array.isArray(answer) ? answer : [];
  const ages = new Map<string, number>();
  for (let at = 0; at + 1 < items.length; at += 2) {
    const [node, age] = [items[at], items[at + 1]];
    if (typeof node === 'string' && typeof age === 'number') ages.set(node, Math.max(0, age));
  }
  return ages;
}

function parseInfo(text: unknown): MemberInfo | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    return memberInfo.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
