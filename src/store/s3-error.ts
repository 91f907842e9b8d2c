import { type ErrorCode, isThinError, ThinError } from '../errors.js';
import { storeError } from './store-error.js';

/** By the name of the error, where the service or the SDK gives one. */
const codesByName: Readonly<Record<string, ErrorCode>> = {
  NoSuchKey: 'not-found',
  NotFound: 'not-found',
  NoSuchBucket: 'not-found',
  AccessDenied: 'denied',
  CredentialsProviderError: 'denied',
  InvalidAccessKeyId: 'denied',
  SignatureDoesNotMatch: 'denied',
  ExpiredToken: 'denied',
  // The object is shorter than what it should be.
  InvalidRange: 'corrupt',
  QuotaExceeded: 'no-space',
  EntityTooLarge: 'no-space',
  XMinioStorageFull: 'no-space',
};

const codesByStatus: Readonly<Record<number, ErrorCode>> = {
  401: 'denied',
  403: 'denied',
  404: 'not-found',
  416: 'corrupt',
  507: 'no-space',
};

/** Converts what the SDK throws. */
export function s3Error(action: string, error: unknown, signal: AbortSignal): ThinError {
  if (isThinError(error) || signal.aborted || !(error instanceof Error)) {
    return storeError(action, error, signal);
  }
  const code = codesByName[error.name] ?? codesByStatus[statusOf(error) ?? 0] ?? 'unavailable';
  return new ThinError(code, `${action}: ${error.name}: ${error.message}`, { cause: error });
}

function statusOf(error: Error): number | undefined {
  if (!('$metadata' in error)) return undefined;
  const metadata = error.$metadata;
  if (typeof metadata !== 'object' || metadata === null) return undefined;
  const status = 'httpStatusCode' in metadata ? metadata.httpStatusCode : undefined;
  return typeof status === 'number' ? status : undefined;
}
