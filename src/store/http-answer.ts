import type { Dispatcher } from 'undici';
import { type ErrorCode, ThinError } from '../errors.js';
import type { ObjectRange } from './objects.js';

/** Kept as the `cause` of an `unavailable`: the server said when to ask again. */
export class RetryAfter extends Error {
  readonly milliseconds: number;

  constructor(milliseconds: number) {
    super(`the server asks to wait ${Math.ceil(milliseconds / 1000)} s`);
    this.name = 'RetryAfter';
    this.milliseconds = milliseconds;
  }
}

const codes: Readonly<Record<number, ErrorCode>> = {
  401: 'denied',
  403: 'denied',
  404: 'not-found',
  410: 'not-found',
  // The object is shorter than what it should be.
  416: 'corrupt',
};

/** The error that an answer of an unwanted status is, once its body is out of the way. */
export async function httpError(
  answer: Dispatcher.ResponseData,
  action: string,
): Promise<ThinError> {
  const { statusCode, headers } = answer;
  await answer.body.dump();
  const encoding = headers['content-encoding'];
  const how = encoding === undefined ? '' : ` with content-encoding ${encoding}`;
  const delay = retryDelay(headers['retry-after'], Date.now());
  return new ThinError(
    codes[statusCode] ?? 'unavailable',
    `${action}: the server answers ${statusCode}${how}`,
    delay === undefined ? {} : { cause: new RetryAfter(delay) },
  );
}

/** Milliseconds that a `Retry-After` header names, as seconds or as a date (RFC 9110, 10.2.3). */
export function retryDelay(header: string | string[] | undefined, now: number): number | undefined {
  if (typeof header !== 'string') return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const date = /^[A-Z][a-z]{2}, /.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/**
 * Checks that a partial answer is the part that was asked for (RFC 9110, 14.4).
 * @throws ThinError `corrupt`
 */
export function checkContentRange(
  header: string | string[] | undefined,
  { offset, length, size }: ObjectRange,
  action: string,
): void {
  const wanted = `bytes ${offset}-${offset + length - 1}/`;
  if (header !== `${wanted}${size}` && header !== `${wanted}*`) {
    const shown = JSON.stringify(header ?? null).slice(0, 90);
    throw new ThinError('corrupt', `${action}: the range ${shown} came (wanted ${wanted}${size})`);
  }
}

/**
 * Checks that a whole answer is as long as the object should be, where it says how long it is.
 * @throws ThinError `corrupt`
 */
export function checkContentLength(
  header: string | string[] | undefined,
  { size }: ObjectRange,
  action: string,
): void {
  if (header !== undefined && header !== String(size)) {
    throw new ThinError('corrupt', `${action}: ${String(header)} bytes come (wanted ${size})`);
  }
}
