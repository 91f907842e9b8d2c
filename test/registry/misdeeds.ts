import { gzipSync } from 'node:zlib';
import { digestOf } from '../../src/digest.js';
import type { ErrorCode } from '../../src/errors.js';
import { mediaTypes } from '../../src/image/media-type.js';
import type { Answer, Misdeed, Received } from '../support/hostile-http.js';

/** In the URL to which a registry sends us; never in a message. */
export const signature = 'signature-of-the-test';

/** What can be done wrong to: a kind of request. */
export const columns = ['manifest', 'config', 'blob', 'range', 'token'] as const;
export type Column = (typeof columns)[number];
type Outcome = 'right' | ErrorCode;

interface Context {
  /** How often this has been asked for before. */
  readonly nth: number;
  readonly request: Received;
  readonly column: Column;
  /** `http://host:port` of another server that has the same blobs. */
  readonly elsewhere: string;
  /** The whole blob of which `column` wants a part. */
  readonly whole: Buffer;
}

/** Makes the wrong answer of the right one. */
type Change = (right: Answer, context: Context) => Answer;

export interface Row {
  readonly name: string;
  readonly change: Change;
  /** For all columns, or for each that differs from `others`. */
  readonly outcome: Outcome | (Partial<Record<Column, Outcome>> & { readonly others: Outcome });
  /** What is wrong is that something does not come: only these are waited for briefly. */
  readonly isLate?: true;
}

const flipped = (body: Answer['body'] = ''): Buffer => {
  const bytes = Buffer.from(body);
  bytes.writeUInt8((bytes[1] ?? 0) ^ 0xff, 1);
  return bytes;
};
const status =
  (status: number, headers: Record<string, string> = {}): Change =>
  () => ({ status, headers });
const header =
  (name: string, value: string): Change =>
  (right) => ({ ...right, headers: { ...right.headers, [name]: value } });
const misdeed =
  (misdeed: Misdeed): Change =>
  (right) => ({ ...right, misdeed });
const first =
  (change: Change, times = 1): Change =>
  (right, context) =>
    context.nth < times ? change(right, context) : right;
const partial =
  (contentRange: string): Change =>
  (right) => ({ ...right, status: 206, headers: { 'content-range': contentRange } });
const redirect =
  (to: (context: Context) => string, code = 307): Change =>
  (_, context) => ({ status: code, headers: { location: to(context) } });
const toElsewhere = redirect(
  ({ elsewhere, request }) => `${elsewhere}${request.path}?sig=${signature}`,
);
const challenge = 'Bearer realm="TOKEN-SERVER",service="test"';

/** What a 206 is to those who never ask for a part. */
const noPart = { manifest: 'invalid', token: 'invalid', others: 'corrupt' } as const;
/** A token server is not followed elsewhere. */
const notForTokens = { token: 'invalid', others: 'right' } as const;

export const rows: readonly Row[] = [
  { name: 'nothing wrong', change: (right) => right, outcome: 'right' },

  // status
  {
    name: '200 to a range request',
    change: (right, { column, whole }) =>
      column === 'range' ? { status: 200, body: whole } : right,
    outcome: 'right',
  },
  { name: '206 of another part', change: partial('bytes 0-4999/300000'), outcome: noPart },
  {
    name: '206 shifted by one byte',
    change: partial('bytes 100001-105000/300000'),
    outcome: noPart,
  },
  { name: '206 of another size', change: partial('bytes 100000-104999/300001'), outcome: noPart },
  {
    name: '206 without Content-Range',
    change: (right) => ({ ...right, status: 206, headers: {} }),
    outcome: noPart,
  },
  {
    name: '206 in several parts',
    change: (right) => ({
      ...right,
      status: 206,
      headers: { ...right.headers, 'content-type': 'multipart/byteranges; boundary=x' },
    }),
    outcome: noPart,
  },
  { name: '416', change: status(416), outcome: { range: 'right', others: 'corrupt' } },
  { name: '501 always', change: status(501), outcome: { range: 'right', others: 'invalid' } },
  {
    name: '401 once',
    change: first(status(401, { 'www-authenticate': challenge })),
    outcome: 'denied', // the token was fresh: another would be no better
  },
  {
    name: '401 for ever',
    change: status(401, { 'www-authenticate': challenge }),
    outcome: 'denied',
  },
  { name: '403', change: status(403), outcome: 'denied' },
  { name: '404', change: status(404), outcome: 'not-found' },
  { name: '429 once', change: first(status(429)), outcome: 'right' },
  { name: '429, wait 0 s', change: first(status(429, { 'retry-after': '0' })), outcome: 'right' },
  {
    name: '429, wait until a date gone by',
    change: first(status(429, { 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' })),
    outcome: 'right',
  },
  {
    name: '429, wait 10^9 s',
    change: first(status(429, { 'retry-after': '1000000000' })),
    outcome: 'unavailable',
  },
  {
    name: '429, wait nonsense',
    change: first(status(429, { 'retry-after': '-1e400' })),
    outcome: 'right',
  },
  { name: '429 for ever', change: status(429), outcome: 'unavailable' },
  { name: '500 twice', change: first(status(500), 2), outcome: 'right' },
  { name: '500 for ever', change: status(500), outcome: 'unavailable' },
  {
    name: '503 with a long page',
    change: () => ({ status: 503, body: Buffer.alloc(1_000_000, 'x') }),
    outcome: 'unavailable',
  },
  { name: '204', change: status(204), outcome: 'invalid' },
  { name: '999', change: status(999), outcome: 'unavailable' },

  // redirects
  ...[301, 302, 303, 307, 308].map((code) => ({
    name: `${code} to itself, once`,
    change: first(redirect(({ request }) => request.path, code)),
    outcome: notForTokens,
  })),
  { name: '307 to another server', change: toElsewhere, outcome: notForTokens },
  {
    name: '307 in a loop',
    change: redirect(({ request }) => request.path),
    outcome: { token: 'invalid', others: 'denied' },
  },
  {
    name: '307 to file:',
    change: redirect(() => 'file:///etc/passwd'),
    outcome: { token: 'invalid', others: 'denied' },
  },
  {
    name: '307 with a user name',
    change: redirect(({ elsewhere }) => elsewhere.replace('//', '//a:b@')),
    outcome: { token: 'invalid', others: 'denied' },
  },
  {
    name: '307 without Location',
    change: status(307),
    outcome: { token: 'invalid', others: 'denied' },
  },
  {
    name: '307 to nonsense',
    change: status(307, { location: 'http://[' }),
    outcome: { token: 'invalid', others: 'denied' },
  },

  // body
  {
    name: 'longer than it should be',
    change: (right) => ({
      ...right,
      body: Buffer.concat([Buffer.from(right.body ?? ''), Buffer.from(' ')]),
    }),
    outcome: { manifest: 'corrupt', token: 'right', others: 'corrupt' },
  },
  {
    name: 'longer, without Content-Length',
    change: (right) => ({
      ...right,
      chunked: true,
      body: Buffer.concat([Buffer.from(right.body ?? ''), Buffer.from(' ')]),
    }),
    outcome: { token: 'right', others: 'corrupt' },
  },
  {
    name: 'shorter, and says so',
    change: (right) => ({ ...right, body: Buffer.from(right.body ?? '').subarray(0, -1) }),
    outcome: 'corrupt',
  },
  {
    name: 'shorter, without Content-Length, once',
    change: first((right) => ({
      ...right,
      chunked: true,
      body: Buffer.from(right.body ?? '').subarray(0, -1),
    })),
    outcome: 'right',
  },
  {
    name: 'cut in the middle, once',
    change: first(misdeed({ kind: 'reset', after: 20 })),
    outcome: 'right',
  },
  {
    name: 'cut before the first byte, for ever',
    change: misdeed({ kind: 'reset', after: 0 }),
    outcome: 'unavailable',
  },
  {
    name: 'cut in the middle, for ever, without advancing',
    change: misdeed({ kind: 'reset', after: 10 }),
    outcome: { blob: 'right', others: 'unavailable' }, // its rest comes by range, which works
  },
  {
    name: 'Content-Encoding gzip',
    change: (right) => ({
      ...right,
      headers: { ...right.headers, 'content-encoding': 'gzip' },
      body: gzipSync(Buffer.from(right.body ?? '')),
    }),
    outcome: 'corrupt',
  },
  {
    name: 'Content-Encoding identity',
    change: header('content-encoding', 'identity'),
    outcome: 'right',
  },
  {
    name: 'right length, wrong bytes',
    change: (right) => ({ ...right, body: flipped(right.body) }),
    outcome: { range: 'right', others: 'corrupt' },
  },
  {
    name: 'right length, wrong bytes, once',
    change: first((right) => ({ ...right, body: flipped(right.body) })),
    outcome: { config: 'corrupt', blob: 'corrupt', others: 'right' }, // they have been handed on
  },
  {
    name: 'another length announced, once',
    change: first((right) => ({ ...right, headers: { ...right.headers, 'content-length': '7' } })),
    outcome: 'right',
  },
  {
    name: 'endless',
    change: (right) => ({ ...right, chunked: true, misdeed: { kind: 'endless' } }),
    outcome: 'corrupt',
  },
  {
    name: 'garbage in place of HTTP',
    change: misdeed({ kind: 'garbage', bytes: 'SSH-2.0-OpenSSH_9.2\r\n' }),
    outcome: 'unavailable',
  },
  {
    name: 'headers without end',
    change: misdeed({
      kind: 'garbage',
      bytes: `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`,
    }),
    outcome: 'corrupt',
  },

  // timing
  {
    name: 'no answer, once',
    isLate: true,
    change: first(misdeed({ kind: 'silent' })),
    outcome: 'right',
  },
  {
    name: 'no answer, for ever',
    isLate: true,
    change: misdeed({ kind: 'silent' }),
    outcome: 'unavailable',
  },
  {
    name: 'headers that drip',
    isLate: true,
    change: misdeed({ kind: 'slow-headers', ms: 20 }),
    outcome: 'unavailable',
  },
  {
    name: 'a body that drips',
    isLate: true,
    // What is resumed comes right then: how much has dripped is a matter of time.
    change: (right, { nth, column }) =>
      column === 'config' && nth > 0 ? right : { ...right, misdeed: { kind: 'drip', ms: 20 } },
    outcome: { config: 'right', blob: 'right', others: 'unavailable' },
  },
  {
    name: 'a body that stalls, once',
    isLate: true,
    change: first(misdeed({ kind: 'stall', after: 30 })),
    outcome: 'right',
  },

  // identity
  {
    name: 'a digest header that lies',
    change: header('docker-content-digest', digestOf(Buffer.from('lie'))),
    outcome: { manifest: 'corrupt', others: 'right' },
  },
  {
    name: 'a digest header that is none',
    change: header('docker-content-digest', 'sha256:../../etc'),
    outcome: { manifest: 'corrupt', others: 'right' },
  },
  {
    name: 'a Content-Type that lies',
    change: header('content-type', mediaTypes.ociIndex),
    outcome: { manifest: 'corrupt', others: 'right' },
  },
  {
    name: 'a Content-Type of a web page',
    change: header('content-type', 'text/html'),
    outcome: { manifest: 'corrupt', others: 'right' },
  },
  {
    name: 'no Content-Type',
    change: (right) => ({ ...right, headers: { ...right.headers, 'content-type': '' } }),
    outcome: 'right',
  },
  {
    name: 'ETags that change',
    change: (right, { nth }) => ({ ...right, headers: { ...right.headers, etag: `"${nth}"` } }),
    outcome: 'right',
  },
];

/** What a row is to come to for a column. */
export function outcomeOf(row: Row, column: Column): Outcome {
  return typeof row.outcome === 'string'
    ? row.outcome
    : (row.outcome[column] ?? row.outcome.others);
}
