import { type Digest, digestBytes } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import { addon } from './addon.js';
import { fromNativeError } from './native-error.js';

/** Paths of a copy. */
export interface CopyPlaces {
  readonly source: string;
  /** Not there yet, on the file system of `target`, which the copy gets by rename. */
  readonly incoming: string;
  readonly target: string;
}

/**
 * `absent`, `wrong`: of the source; `there`: the target was there, and nothing was read; `not-kept`: the
 * bytes are right, and could not be written.
 */
export type CopyOutcome = 'absent' | 'wrong' | 'copied' | 'there' | 'not-kept';

const outcomes: readonly CopyOutcome[] = ['absent', 'wrong', 'copied', 'there', 'not-kept'];

/** What a file is to be, and what of it the caller needs besides. */
export interface CopiedFile {
  readonly content: Digest;
  /** Bytes. */
  readonly size: number;
  /** Filled with its bytes from `offset` on, where it was copied or not kept. */
  readonly wanted: Buffer;
  readonly offset: number;
}

/**
 * Copies a file, verified, by one call on the libuv pool. It is not synced.
 * @throws ThinError `denied`, `unavailable` if the source cannot be read
 */
export async function copyVerified(
  { source, incoming, target }: CopyPlaces,
  { content, size, wanted, offset }: CopiedFile,
): Promise<CopyOutcome> {
  const action = `Cannot copy ${source}`;
  if (`${source}${incoming}${target}`.includes('\0')) {
    throw new ThinError('invalid', `${action}: a path holds NUL`);
  }
  const [from, by, to] = [Buffer.from(source), Buffer.from(incoming), Buffer.from(target)];
  const digest = digestBytes(content);
  try {
    const outcome = await addon().copyVerified(from, by, to, digest, size, wanted, offset);
    return outcomes[outcome] ?? 'wrong';
  } catch (error) {
    throw fromNativeError(action, error);
  }
}
