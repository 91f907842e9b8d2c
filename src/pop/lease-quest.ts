import type { ThinError } from '../errors.js';
import { fairTimeout } from './fair-timeout.js';
import {
  type ClaimAnswer,
  type LeaseText,
  nodeOf,
  type Quest,
  type QuestEvent,
  questStep,
} from './lease-protocol.js';

/** Milliseconds between looks, as news may be lost: at least, and drawn on top of it. */
const lookMs = 300;
const lookJitterMs = 200;

/** The ends of a quest. */
export type QuestEnd = Extract<Quest, { readonly at: 'own' | 'have' | 'alone' }>;

export interface QuestCalls {
  /** Asks Redis. @throws ThinError where it does not answer in time */
  claim(insteadOf: LeaseText | undefined): Promise<ClaimAnswer>;
  /** An answer that nobody waits for any more must not leave a lease behind. */
  giveBack(lease: LeaseText): void;
  isDead(node: string): boolean;
}

/** One node's way to one frame: lease-protocol.ts with time and Redis. */
export class LeaseQuest implements Disposable {
  readonly end: Promise<QuestEnd>;
  readonly #calls: QuestCalls;
  readonly #endPatience: () => void;
  readonly #startedAt = performance.now();
  #quest: Quest = { at: 'asking' };
  #owner: string | undefined;
  #look: NodeJS.Timeout | undefined;
  #resolve: (end: QuestEnd) => void = () => {};

  /** Claims at once. @param patienceMs milliseconds after which it ends in any case */
  constructor(calls: QuestCalls, patienceMs: number) {
    this.#calls = calls;
    this.end = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#endPatience = fairTimeout(patienceMs, () => this.tell({ on: 'give-up' }));
    void this.#claim(undefined);
  }

  /** The node that is known to fetch it, and for how many milliseconds it has been wanted here. */
  get wait(): { readonly node: string; readonly ms: number } | undefined {
    if (this.#quest.at !== 'waiting') return undefined;
    return { node: nodeOf(this.#quest.lease), ms: performance.now() - this.#startedAt };
  }

  /** The node that was last known to fetch it. */
  get owner(): string | undefined {
    return this.#owner;
  }

  tell(event: QuestEvent): void {
    const { quest, claim } = questStep(this.#quest, event);
    this.#quest = quest;
    clearTimeout(this.#look);
    if (claim) void this.#claim(claim.insteadOf);
    if (quest.at === 'waiting') this.#wait(nodeOf(quest.lease));
    else if (quest.at !== 'asking') this.#resolve(quest);
  }

  #wait(owner: string): void {
    this.#owner = owner;
    const dead = this.#calls.isDead(owner);
    const later = lookMs + Math.random() * lookJitterMs;
    if (dead) this.tell({ on: 'death', node: owner });
    else this.#look = setTimeout(() => this.tell({ on: 'look' }), later);
  }

  async #claim(insteadOf: LeaseText | undefined): Promise<void> {
    const answer = await this.#calls.claim(insteadOf).catch((error: ThinError) => error);
    if (answer instanceof Error) this.tell({ on: 'give-up' });
    else if (this.#quest.at === 'asking') this.tell({ on: 'answer', answer });
    else if (answer.ours) this.#calls.giveBack(answer.lease);
  }

  /** Ends it: what is answered later is given back. */
  [Symbol.dispose](): void {
    this.#endPatience();
    this.tell({ on: 'give-up' });
  }
}
