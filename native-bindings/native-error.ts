import { getSystemErrorName } from 'node:util';
import { type ErrorCode, errorCodes, fromSystemError, ThinError } from '../src/errors.js';

/**
 * Converts what the addon throws: an Error with one of our codes, or with the `errno` of a system
 * call (its name becomes the `code` of the cause).
 * @param action what failed, as `Cannot <verb> <object>`
 */
export function fromNativeError(action: string, error: unknown): ThinError {
  if (!(error instanceof Error)) return fromSystemError(action, error);
  if ('code' in error && isErrorCode(error.code)) {
    return new ThinError(error.code, `${action}: ${error.message}`, { cause: error });
  }
  if ('errno' in error && typeof error.errno === 'number') {
    Object.assign(error, { code: getSystemErrorName(-error.errno) });
  }
  return fromSystemError(action, error);
}

function isErrorCode(code: unknown): code is ErrorCode {
  return errorCodes.some((known) => known === code);
}
