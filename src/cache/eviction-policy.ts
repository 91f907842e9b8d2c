import type { EvictionCandidate } from './index-eviction.js';

/**
 * Which files may go: of no mounted image; where that is not enough, also those of mounts; and where
 * that is not enough, also those that are to go last.
 */
export type EvictionRound = 'free' | 'mounted' | 'last';

/** What is known of a file at this moment beside its standing. */
export interface EvictionState {
  inUse(file: EvictionCandidate): boolean;
  /** It is to go last. */
  isLast(file: EvictionCandidate): boolean;
}

/**
 * Chooses what leaves, least recently used first, until `bytes` are freed. Pure: the whole policy.
 * Never what is pinned: it could not be fetched again; never what is in use.
 * @param candidates in order of use, the least recent first
 */
export function chooseVictims(
  candidates: readonly EvictionCandidate[],
  bytes: number,
  round: EvictionRound,
  { inUse, isLast }: EvictionState,
): EvictionCandidate[] {
  const victims: EvictionCandidate[] = [];
  let freed = 0;
  for (const candidate of candidates) {
    if (freed >= bytes) break;
    if (candidate.standing === 'pinned') continue;
    if (candidate.standing === 'mounted' && round === 'free') continue;
    if (round !== 'last' && isLast(candidate)) continue;
    if (inUse(candidate)) continue;
    victims.push(candidate);
    freed += candidate.allocated;
  }
  return victims;
}
