import type { EvictionCandidate } from './index-eviction.js';

/** Which files may go: of no mounted image; or, where that is not enough, also those of mounts. */
export type EvictionRound = 'free' | 'mounted';

/**
 * Chooses what leaves, least recently used first, until `bytes` are freed. Pure: the whole policy.
 * Never what is pinned: it could not be fetched again; never what is in use.
 * @param candidates in order of use, the least recent first
 */
export function chooseVictims(
  candidates: readonly EvictionCandidate[],
  bytes: number,
  round: EvictionRound,
  inUse: (file: EvictionCandidate) => boolean,
): EvictionCandidate[] {
  const victims: EvictionCandidate[] = [];
  let freed = 0;
  for (const candidate of candidates) {
    if (freed >= bytes) break;
    if (candidate.standing === 'pinned') continue;
    if (candidate.standing === 'mounted' && round === 'free') continue;
    if (inUse(candidate)) continue;
    victims.push(candidate);
    freed += candidate.allocated;
  }
  return victims;
}
