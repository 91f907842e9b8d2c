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

/**
 * Copies a file that is to be `content`, by one call on the libuv pool. It is not synced.
 * @param bytes of the file's size; has all of it afterwards, where it was copied or not kept
 * @throws ThinError `denied`, `unavailable` if the source cannot be read
 */
export async function copyVerified(
  { source, incoming, target }: CopyPlaces,
  content: Digest,
  bytes: Buffer,
): Promise<CopyOutcome> {
  const action = `Cannot copy ${source}`;
  if (`${source}${incoming}${target}`.includes('\0')) {
    throw new ThinError('invalid', `${action}: a path holds NUL`);
  }
  const [from, by, to] = [Buffer.from(source), Buffer.from(incoming), Buffer.from(target)];
  try {
    const outcome = await addon().copyVerified(from, by, to, digestBytes(content), bytes);
    return outcomes[outcome] ?? 'wrong';
  } catch (error) {
    throw fromNativeError(action, error);
  }
}
