/*
 * The protocol by which one node comes to a frame that others may be fetching, as a pure function:
 * leases.ts feeds it with what happens, and a test walks through all orders in which that can be.
 * Safety does not rest on it: frames are verified, and a second fetch is only waste.
 */

/** A lease or mark as it stands in Redis: `L <token> <node>` or `D <token> <node>`. */
export type LeaseText = string & { readonly leaseText: unique symbol };

/** What Redis told who claimed. */
export interface ClaimAnswer {
  /** Whether `lease` is the claimant's. */
  readonly ours: boolean;
  readonly lease: LeaseText;
}

/** What a node is told of a lease that it waits for: the mark of who has it, or that it is free. */
export type LeaseNews = LeaseText | 'free';

/** Where a node is on its way. The last three are ends. */
export type Quest =
  /** A claim is under way. `heard`: news that has overtaken its answer. */
  | { readonly at: 'asking'; readonly heard?: LeaseNews }
  /** Another node fetches it. */
  | { readonly at: 'waiting'; readonly lease: LeaseText }
  /** It is for us to fetch. */
  | { readonly at: 'own'; readonly lease: LeaseText }
  /** Another node has it. */
  | { readonly at: 'have'; readonly mark: LeaseText }
  /** We fetch it, whatever others do. */
  | { readonly at: 'alone' };

export type QuestEvent =
  | { readonly on: 'answer'; readonly answer: ClaimAnswer }
  | { readonly on: 'news'; readonly news: LeaseNews }
  /** Time to look again, as news may have been lost. */
  | { readonly on: 'look' }
  /** A node that fetches is known to be gone. */
  | { readonly on: 'death'; readonly node: string }
  /** Redis does not answer, or we have waited long enough. */
  | { readonly on: 'give-up' };

export interface QuestStep {
  readonly quest: Quest;
  /** Claim it now; `insteadOf`: unless its lease is still this one, whose owner is dead. */
  readonly claim?: { readonly insteadOf?: LeaseText };
}

/** What comes of an event. An answer to a claim that was given up is not an event: see leases.ts. */
export function questStep(quest: Quest, event: QuestEvent): QuestStep {
  if (quest.at !== 'asking' && quest.at !== 'waiting') return { quest };
  if (event.on === 'give-up') return { quest: { at: 'alone' } };
  return quest.at === 'asking' ? stepAsking(quest, event) : stepWaiting(quest, event);
}

function stepAsking(quest: Quest & { at: 'asking' }, event: QuestEvent): QuestStep {
  if (event.on === 'news') return { quest: { at: 'asking', heard: event.news } };
  if (event.on !== 'answer') return { quest };
  const { ours, lease } = event.answer;
  if (ours) return { quest: { at: 'own', lease } };
  if (isMark(lease)) return { quest: { at: 'have', mark: lease } };
  if (quest.heard === 'free') return { quest: { at: 'asking' }, claim: {} };
  if (quest.heard !== undefined) return { quest: { at: 'have', mark: quest.heard } };
  return { quest: { at: 'waiting', lease } };
}

function stepWaiting(quest: Quest & { at: 'waiting' }, event: QuestEvent): QuestStep {
  if (event.on === 'news' && event.news !== 'free') {
    return { quest: { at: 'have', mark: event.news } };
  }
  if (event.on === 'news' || event.on === 'look') return { quest: { at: 'asking' }, claim: {} };
  if (event.on === 'death' && nodeOf(quest.lease) === event.node) {
    return { quest: { at: 'asking' }, claim: { insteadOf: quest.lease } };
  }
  return { quest };
}

function isMark(lease: LeaseText): boolean {
  return lease.startsWith('D ');
}

/** The node that a lease or mark names. */
export function nodeOf(lease: LeaseText): string {
  return lease.slice(lease.lastIndexOf(' ') + 1);
}

/** What tells all that the frame of a lease has been fetched. */
export function markOf(lease: LeaseText): LeaseText {
  return `D${lease.slice(1)}` as LeaseText;
}

/** What came over the network as a lease. @returns undefined if it is none */
export function parseLease(text: unknown): LeaseText | undefined {
  if (typeof text !== 'string' || !/^[LD] \d+ [0-9a-z.]+$/.test(text)) return undefined;
  return text as LeaseText;
}
