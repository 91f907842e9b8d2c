/**
 * The one error class of thinfs. Absent, broken and unreachable are different answers; foreign
 * errors are converted once, at the edge where they enter, with `cause` kept.
 */
export const errorCodes = [
  'invalid', // the caller asked for something malformed or contradictory
  'not-found', // it does not exist, and asking again will not help
  'denied', // credentials or permissions are missing or refused
  'unavailable', // it may exist, but cannot be reached now; asking again may help
  'corrupt', // bytes arrived that are not what their digest or format promises
  'no-space', // a disk, quota or limit is full
  'busy', // someone else holds it (a lock, a mount point, a daemon root)
  'canceled', // the caller gave up
] as const;

export type ErrorCode = (typeof errorCodes)[number];

export class ThinError extends Error {
  readonly code: ErrorCode;

  /** @param message `Cannot <verb> <object>: <what is> (wanted <what should be>)`, URLs redacted. */
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ThinError';
    this.code = code;
  }
}

/**
 * True if `error` is a {@link ThinError} with one of `codes` (with any code if none is given). By
 * name: a bundled program and what it loads beside have this class each.
 */
export function isThinError(error: unknown, ...codes: ErrorCode[]): error is ThinError {
  if (!(error instanceof Error) || error.name !== 'ThinError' || !('code' in error)) return false;
  return codes.length === 0 || codes.some((code) => code === error.code);
}

/** One line for people: the message, and the messages of its causes where they add something. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (let at: unknown = error; at !== undefined && at !== null && parts.length < 4; ) {
    const message = at instanceof Error ? at.message : String(at);
    if (!parts.some((part) => part.includes(message))) parts.push(message);
    at = at instanceof Error ? at.cause : undefined;
  }
  return parts.join(': ');
}

const systemCodes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'not-found',
  ENOTDIR: 'not-found',
  EACCES: 'denied',
  EPERM: 'denied',
  EROFS: 'denied',
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EFBIG: 'no-space',
  EBUSY: 'busy',
  EEXIST: 'busy',
  EINVAL: 'invalid',
  ENAMETOOLONG: 'invalid',
  ABORT_ERR: 'canceled',
};

/**
 * Converts an error of Node's file system or network calls into a {@link ThinError}.
 * @param action what failed, as `Cannot <verb> <object>`
 */
export function fromSystemError(action: string, error: unknown): ThinError {
  if (isThinError(error)) return error;
  const name = error instanceof Error && 'code' in error ? String(error.code) : '';
  const message = error instanceof Error ? error.message : String(error);
  return new ThinError(systemCodes[name] ?? 'unavailable', `${action}: ${message}`, {
    cause: error,
  });
}
