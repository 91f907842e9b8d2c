import { z } from 'zod';
import { type ErrorCode, isThinError, ThinError } from '../errors.js';
import type { HttpResponse } from './http-exchange.js';

/** Bytes of an error's body that are read. */
const errorBodyMax = 64 * 1024;
/** Error codes of one answer that are shown. */
const shownCodesMax = 3;

/** The cause of a {@link ThinError} where a registry answered with a status that is no success. */
export class HttpFailure extends Error {
  readonly status: number;
  /** The registry's own error codes: `MANIFEST_UNKNOWN`, `TOOMANYREQUESTS`. */
  readonly codes: readonly string[];
  /** What Retry-After asks for, in milliseconds from now. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, codes: readonly string[], retryAfterMs: number | undefined) {
    super(`HTTP ${status}`);
    this.name = 'HttpFailure';
    this.status = status;
    this.codes = codes;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The HTTP status that `error` stems from, if it does. */
export function statusOf(error: unknown): number | undefined {
  return isThinError(error) && error.cause instanceof HttpFailure ? error.cause.status : undefined;
}

/**
 * Makes an error of an answer, and consumes its body. Of the body only error codes are shown: a
 * hostile server could echo a token in its text.
 * @param action `Cannot <verb> <object>`
 */
export async function failureOf(action: string, response: HttpResponse): Promise<ThinError> {
  const { status } = response;
  const text = await response.bytes(errorBodyMax).then(
    (bytes) => bytes.toString('utf8'),
    () => '', // a broken error body changes nothing about the error
  );
  const codes = errorCodesIn(text);
  const retryAfterMs = parseRetryAfter(response.header('retry-after'), Date.now());
  const wait =
    retryAfterMs === undefined ? '' : `, asks to wait ${Math.ceil(retryAfterMs / 1000)} s`;
  const hint = text.includes('HTTP request to an HTTPS server') ? ': it wants HTTPS' : '';
  const said = codes.length > 0 ? ` ${codes.join(' ')}` : '';
  return new ThinError(
    codeOfStatus(status),
    `${action}: ${response.url.host} answers HTTP ${status}${said}${wait}${hint}${advice(status)}`,
    { cause: new HttpFailure(status, codes, retryAfterMs) },
  );
}

const errorsSchema = z.object({ errors: z.array(z.object({ code: z.string() })) });

function errorCodesIn(text: string): string[] {
  try {
    const read = errorsSchema.safeParse(JSON.parse(text));
    const codes = read.success ? read.data.errors.map(({ code }) => code) : [];
    return codes.filter((code) => /^[A-Z_]{1,40}$/.test(code)).slice(0, shownCodesMax);
  } catch {
    return [];
  }
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'denied';
  if (status === 404 || status === 410) return 'not-found';
  if (status === 408 || status === 425 || status === 429) return 'unavailable';
  if (status === 413 || status === 507) return 'no-space';
  if (status === 416) return 'corrupt';
  if (status === 501 || status === 505) return 'invalid';
  return status >= 500 ? 'unavailable' : 'invalid';
}

function advice(status: number): string {
  if (status === 401 || status === 403)
    return ' (wanted other credentials: docker login, or --username)';
  if (status === 416) return ' (wanted a range inside the blob: the registry has a shorter one)';
  return status === 501 ? ' (wanted a registry that supports this)' : '';
}

/**
 * Milliseconds that a Retry-After header asks for: seconds or an HTTP date; undefined if it is
 * neither.
 * @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
 */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^[0-9]{1,15}$/.test(header)) return Number(header) * 1000;
  const date = /^[A-Z][a-z]{2}, /.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(date - now, 0);
}

/** TLS errors that say "not whom I wanted to talk to"; trying again would not help. */
const certificateCode =
  /^(CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|ERR_TLS_|HOSTNAME_MISMATCH|INVALID_CA|CRL_)/;
/** OpenSSL's words for an answer that is no TLS at all. */
const noTls = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO']);

/** Converts what undici and Node throw; a {@link ThinError} stays as it is. */
export function fromNetworkError(action: string, url: URL, error: unknown): ThinError {
  if (isThinError(error)) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'no code';
  const options = { cause: error };
  if (certificateCode.test(code)) {
    return new ThinError(
      'denied',
      `${action}: the certificate of ${url.host} is not trusted, ${code} (wanted one of a known authority; others go into /etc/docker/certs.d/${url.host}/ca.crt)`,
      options,
    );
  }
  if (noTls.has(code)) {
    return new ThinError(
      'invalid',
      `${action}: ${url.host} does not speak TLS (wanted HTTPS, or --plain-http)`,
      options,
    );
  }
  if (code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new ThinError('corrupt', `${action}: ${url.host} sends headers without end`, options);
  }
  return new ThinError('unavailable', `${action}: no answer from ${url.host} (${code})`, options);
}

/** A URL for messages: a query may hold a signature, user information a password. */
export function displayUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}${url.search === '' ? '' : '?…'}`;
}
