import { ThinError } from '../src/errors.js';
import { addon } from './addon.js';
import { fromNativeError } from './native-error.js';

/** Nanoseconds of a second. */
const second = 1_000_000_000n;

/**
 * Sets the times of last access and change of `path` itself, exactly.
 * @param time nanoseconds since 1970, as `mtimeNs` of a stat; negative before it
 */
export async function setTime(path: string, time: bigint): Promise<void> {
  if (path.includes('\0')) throw new ThinError('invalid', 'Cannot set a time: the path holds NUL');
  const nanoseconds = ((time % second) + second) % second;
  const seconds = (time - nanoseconds) / second;
  try {
    await addon().setTime(Buffer.from(path), Number(seconds), Number(nanoseconds));
  } catch (error) {
    throw fromNativeError(`Cannot set the time of ${path}`, error);
  }
}
