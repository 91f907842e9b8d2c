import { channel } from 'node:diagnostics_channel';
import { type ErrorCode, isThinError, ThinError } from '../errors.js';
import { formatDuration } from '../units.js';
import type { FileOrigin, FileRef } from './file-origin.js';

/** A read that has not ended. */
export interface ReadInFlight extends FileRef {
  readonly offset: number;
  readonly length: number;
  readonly origin: FileOrigin;
  /** Milliseconds since 1970. */
  readonly since: number;
}

export type ReadOutcome = 'ok' | ErrorCode;

/** What is published on the diagnostics channel `thinfs:read` for each read that ends. */
export interface EndedRead {
  readonly milliseconds: number;
  readonly outcome: ReadOutcome;
}

export interface ReadPolicy {
  /** Milliseconds after which a read that is still waiting fails as `unavailable`. Default: none */
  readonly deadlineMs?: number | undefined;
  /** Told of every read that fails, unless its reader gave it up. */
  readonly onFailure?: ((error: ThinError, read: ReadInFlight) => void) | undefined;
}

const ended = channel('thinfs:read');

/** The reads under way: what waits can be seen, and nothing waits beyond the deadline. */
export class ReadsInFlight {
  readonly #policy: ReadPolicy;
  readonly #reads = new Set<ReadInFlight>();
  readonly #outcomes = new Map<ReadOutcome, number>();
  /** By {@link FileOrigin.id}. */
  readonly #counts = new Map<string, number>();

  constructor(policy: ReadPolicy) {
    this.#policy = policy;
  }

  /** The oldest first. */
  list(): readonly ReadInFlight[] {
    return [...this.#reads];
  }

  /** Reads that have ended since the start, by how they did. */
  get outcomes(): ReadonlyMap<ReadOutcome, number> {
    return this.#outcomes;
  }

  /** Reads of the files of an origin that have ended since the start. */
  count(originId: string): number {
    return this.#counts.get(originId) ?? 0;
  }

  /**
   * Does a read under the deadline.
   * @param work is given a signal that is aborted with `signal`, and when the deadline has passed
   * @throws ThinError `unavailable` after the deadline, `denied` if a refusal is what it waited for;
   *   whatever `work` throws
   */
  async run(
    wanted: Omit<ReadInFlight, 'since'>,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<Buffer>,
  ): Promise<Buffer> {
    const read = { ...wanted, since: Date.now() };
    const startedAt = performance.now();
    this.#reads.add(read);
    let outcome: ReadOutcome = 'ok';
    try {
      return await this.#underDeadline(read, signal, work);
    } catch (error) {
      outcome = isThinError(error) ? error.code : 'unavailable';
      if (isThinError(error) && !signal.aborted) this.#policy.onFailure?.(error, read);
      throw error;
    } finally {
      this.#reads.delete(read);
      this.#outcomes.set(outcome, (this.#outcomes.get(outcome) ?? 0) + 1);
      this.#counts.set(read.origin.id, this.count(read.origin.id) + 1);
      if (ended.hasSubscribers) {
        const milliseconds = performance.now() - startedAt;
        ended.publish({ milliseconds, outcome } satisfies EndedRead);
      }
    }
  }

  /** The reader is answered at the deadline even if something of the work hangs. */
  #underDeadline(
    read: ReadInFlight,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<Buffer>,
  ): Promise<Buffer> {
    const { deadlineMs = Number.POSITIVE_INFINITY } = this.#policy;
    if (deadlineMs === Number.POSITIVE_INFINITY) return work(signal);
    const limited = new AbortController();
    return new Promise((resolve, reject) => {
      const giveUp = () => limited.abort(signal.reason);
      const timer = setTimeout(() => {
        const error = tooLate(read, deadlineMs);
        limited.abort(error);
        reject(error);
      }, deadlineMs);
      if (signal.aborted) giveUp();
      signal.addEventListener('abort', giveUp, { once: true });
      work(limited.signal)
        .finally(() => {
          clearTimeout(timer);
          signal.removeEventListener('abort', giveUp);
        })
        .then(resolve, reject);
    });
  }
}

function tooLate({ content, offset, length, origin }: ReadInFlight, deadlineMs: number): ThinError {
  const what = `Cannot read ${length} bytes at ${offset} of file ${content}`;
  const cause = origin.trouble?.();
  return new ThinError(
    isThinError(cause, 'denied') ? 'denied' : 'unavailable',
    `${what}: they did not come in ${formatDuration(deadlineMs)}`,
    { cause },
  );
}
