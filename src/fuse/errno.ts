import { type ErrorCode, isThinError } from '../errors.js';
import { errno } from './protocol.js';

/**
 * What a program sees when its read fails. Most failures are EIO, which programs expect of a disk;
 * no code becomes EAGAIN, which they would retry in a tight loop.
 */
const errnoOfCode: Readonly<Record<ErrorCode, number>> = {
  invalid: errno.EINVAL,
  'not-found': errno.EIO, // the name exists; it is the bytes that the store has not
  denied: errno.EACCES,
  unavailable: errno.EIO,
  corrupt: errno.EIO,
  'no-space': errno.ENOSPC,
  busy: errno.EIO,
  canceled: errno.EINTR,
};

/** The positive error number for whatever a namespace throws. */
export function errnoOfNamespace(error: unknown): number {
  return isThinError(error, 'not-found') ? errno.ESTALE : errnoOf(error);
}

/** The positive error number for any thrown value. */
export function errnoOf(error: unknown): number {
  return isThinError(error) ? errnoOfCode[error.code] : errno.EIO;
}
