/** How long to wait for a registry and how often to ask again. All times in milliseconds. */
export interface Patience {
  /** TCP and TLS handshake. */
  readonly connectMs: number;
  /** From the request to the last header of the answer, and between two pieces of an upload. */
  readonly answerMs: number;
  /** The same for the end of an upload: the registry hashes the whole blob before it answers. */
  readonly commitMs: number;
  /** A body must bring {@link progressBytesMin} in each such time spent waiting for it. */
  readonly progressWindowMs: number;
  /** Bytes; a slow loris brings one now and then. */
  readonly progressBytesMin: number;
  /** Tries of one request in all; a blob that advances starts to count again. */
  readonly attemptsMax: number;
  /** Wait before the second try; it doubles with each, half of it random. */
  readonly backoffMs: number;
  readonly backoffMaxMs: number;
  /** A registry that asks (Retry-After) for a longer wait than this is given up at once. */
  readonly retryAfterMaxMs: number;
}

export const defaultPatience: Patience = {
  connectMs: 10_000,
  answerMs: 30_000,
  commitMs: 300_000,
  progressWindowMs: 10_000,
  progressBytesMin: 10 * 1024, // 1 KiB/s, the limit that CernVM-FS has long had
  attemptsMax: 5,
  backoffMs: 250,
  backoffMaxMs: 10_000,
  retryAfterMaxMs: 60_000,
};
