import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Answer, Misdeed, Received } from './hostile-http.js';
import type { Lie } from './lying-proxy.js';

/** True of the requests that a lie is about; the others get the truth. */
export type About = (request: Received) => boolean;

export const isBlobRead: About = ({ method, path }) => method === 'GET' && path.includes('/blobs/');
export const isManifest: About = ({ path }) => path.includes('/manifests/');
/** A part of a blob: how frames are fetched. */
export const isPackRead: About = (request) =>
  isBlobRead(request) && request.headers.range !== undefined;
export const isUpload: About = ({ path }) => path.includes('/blobs/uploads/');
/** The first request of a client, and what it is sent elsewhere for, are always right. */
export const isAnything: About = ({ path }) => path !== '/v2/';

/** Lies `times` times to each different request, then tells the truth. */
export function first(times: number, lie: Lie): Lie {
  const told = new Map<string, number>();
  return async (request, ask) => {
    const { method, path, headers } = request;
    // A download that goes on where it broke off ends where it would have.
    const key = [
      method,
      path.replace(/(uploads.).*/, '$1'),
      headers.range?.replace(/.*-/, ''),
    ].join(' ');
    const count = told.get(key) ?? 0;
    told.set(key, count + 1);
    return count < times ? await lie(request, ask) : await ask();
  };
}

export function about(which: About, lie: Lie): Lie {
  return async (request, ask) => (which(request) ? await lie(request, ask) : await ask());
}

/** Answers with a status and nothing of use. */
export function status(code: number, headers: Answer['headers'] = {}): Lie {
  return async () => ({ status: code, headers, body: '{"errors":[]}' });
}

/** What a captive portal or a wrong address gives. */
export const webPage: Lie = async () => ({
  status: 200,
  headers: { 'content-type': 'text/html' },
  body: '<html>Please log in</html>',
});

/** Sends the right answer in a wrong way. */
export function misdeed(what: Misdeed, headers: Answer['headers'] = {}): Lie {
  return async (_, ask) => {
    const right = await ask();
    return { ...right, headers: { ...right.headers, ...headers }, misdeed: what };
  };
}

/** The whole blob with 200, whatever part was asked for. */
export const ignoreRanges: Lie = async ({ headers: { range: _, ...others } }, ask) => ask(others);

/** Right in length, wrong in a byte of the middle. */
export const wrongByte: Lie = async (_, ask) => {
  const right = await ask();
  const bytes = Buffer.from(right.body ?? '');
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  return { ...right, body: bytes };
};

/** Promises more bytes than come before the connection ends. */
export const tooLong: Lie = async (_, ask) => {
  const right = await ask();
  const body = Buffer.from(right.body ?? '');
  const headers = { ...right.headers, 'content-length': String(body.length + 100) };
  return { ...right, headers, body, misdeed: { kind: 'reset', after: body.length } };
};

/** Promises fewer bytes than come. */
export const tooShort: Lie = async (_, ask) => {
  const right = await ask();
  const { length } = Buffer.from(right.body ?? '');
  return { ...right, headers: { ...right.headers, 'content-length': String(length >> 1) } };
};

/** Answers nobody until `ms` after it was first asked. */
export function silentFor(ms: number): Lie {
  let over: Promise<void> | undefined;
  return async (_, ask) => {
    over ??= delay(ms);
    await over;
    return await ask();
  };
}

/** Wants tokens of its own making, each good for `ms`, whatever it says. */
export function expiringTokens(origin: () => string, ms: number): Lie {
  const goodUntil = new Map<string, number>();
  return async ({ path, headers }, ask) => {
    if (path.startsWith('/token')) {
      const token = randomUUID();
      goodUntil.set(`Bearer ${token}`, performance.now() + ms);
      return { status: 200, body: JSON.stringify({ token, expires_in: 3600 }) };
    }
    const { authorization = '', ...others } = headers;
    if (performance.now() < (goodUntil.get(authorization) ?? 0)) return await ask(others);
    const challenge = `Bearer realm="${origin()}/token",service="test",error="invalid_token"`;
    return { status: 401, headers: { 'www-authenticate': challenge } };
  };
}
