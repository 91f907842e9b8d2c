/** Where pieces came from, in pieces and their bytes as sent. */
export interface PopCounts {
  /** From this node's own shelf: it is their home, or has just fetched them. */
  readonly shelf: { frames: number; bytes: number };
  readonly peers: { frames: number; bytes: number };
  /** From the origin, for the whole site. */
  readonly origin: { frames: number; bytes: number };
  /** From the origin, without an agreement: Redis or peers did not answer, or not in time. */
  readonly alone: { frames: number; bytes: number };
}

/**
 * Why pieces were fetched without an agreement: nobody was to be asked; Redis did not answer a claim; who
 * fetches it was waited for in vain; who has it did not give it.
 */
export interface AloneCounts {
  unready: number;
  unanswered: number;
  fetching: number;
  notGiven: number;
}
