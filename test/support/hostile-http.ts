import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import { TLSSocket } from 'node:tls';
import type { Test } from 'tap';
import { cleanUp } from './clean-up.js';

/** A request as it came. */
export interface Received {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** The client has shown a certificate. */
  readonly certified: boolean;
}

/** What a hostile server does with the body of an answer. */
export type Misdeed =
  /** Sends that many bytes of it, then cuts the connection. */
  | { readonly kind: 'reset'; readonly after: number }
  /** Sends that many bytes of it, then nothing, with the connection open. */
  | { readonly kind: 'stall'; readonly after: number }
  /** One byte each `ms`. */
  | { readonly kind: 'drip'; readonly ms: number }
  /** Repeats it until the client leaves. */
  | { readonly kind: 'endless' }
  /** Never answers at all. */
  | { readonly kind: 'silent' }
  /** Sends a status line and then one header a time, for ever. */
  | { readonly kind: 'slow-headers'; readonly ms: number }
  /** Sends these bytes in place of an HTTP answer, and closes. */
  | { readonly kind: 'garbage'; readonly bytes: string };

export interface Answer {
  readonly status: number;
  /** Content-Length is that of the body unless given; `chunked` leaves it out. */
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: Buffer | string;
  readonly chunked?: boolean;
  readonly misdeed?: Misdeed;
}

/** Plays a registry; `nth` counts requests of the same method and path from 0. */
export type Script = (request: Received, nth: number) => Answer | Promise<Answer>;

export interface HostileServer {
  /** `127.0.0.1:<port>` */
  readonly host: string;
  /** `http://127.0.0.1:<port>` */
  readonly origin: string;
  readonly received: readonly Received[];
}

export interface HostileOptions {
  /** To listen on. Default: 127.0.0.1 */
  readonly address?: string;
  /** Paths of PEM files; `ca` makes it want a certificate from the client. */
  readonly tls?: { readonly certificate: string; readonly key: string; readonly ca?: string };
}

/** An HTTP server on the loopback that does what `script` says; gone when the test `t` ends. */
export async function startHostile(
  t: Test,
  script: Script,
  { address = '127.0.0.1', tls }: HostileOptions = {},
): Promise<HostileServer> {
  const received: Received[] = [];
  const timers = new Set<NodeJS.Timeout>();
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    void play(request, response, script, received, timers).catch((error: unknown) => {
      t.fail('the script of the hostile server failed', { error: String(error) });
      response.destroy();
    });
  };
  const server = tls ? createTlsServer(tlsOptions(tls), listener) : createServer(listener);
  server.listen(0, address);
  await once(server, 'listening');
  cleanUp(t, async () => {
    for (const timer of timers) clearInterval(timer);
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('no TCP port was given');
  const host = `${address}:${bound.port}`;
  const origin = `${tls ? 'https' : 'http'}://${host}`;
  return { host, origin, received };
}

function tlsOptions({ certificate, key, ca }: NonNullable<HostileOptions['tls']>): ServerOptions {
  const own = { cert: readFileSync(certificate), key: readFileSync(key) };
  return ca === undefined
    ? own
    : { ...own, ca: readFileSync(ca), requestCert: true, rejectUnauthorized: false };
}

async function play(
  request: IncomingMessage,
  response: ServerResponse,
  script: Script,
  received: Received[],
  timers: Set<NodeJS.Timeout>,
): Promise<void> {
  response.on('error', () => undefined); // clients leave
  const body = await bodyOf(request);
  if (!body) return;
  const { method = '', url: path = '', headers } = request;
  const nth = received.filter((one) => one.method === method && one.path === path).length;
  const certified = request.socket instanceof TLSSocket && request.socket.authorized;
  const entry: Received = { method, path, headers, body, certified };
  received.push(entry);
  answer(entry, response, await script(entry, nth), timers);
}

/** Undefined if the client left before it had said all. */
async function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  try {
    for await (const part of request) parts.push(part);
  } catch {
    return undefined;
  }
  return Buffer.concat(parts);
}

function answer(
  { method }: Received,
  response: ServerResponse,
  { status, headers = {}, body = '', chunked = false, misdeed }: Answer,
  timers: Set<NodeJS.Timeout>,
): void {
  const bytes = Buffer.from(body);
  if (misdeed?.kind === 'silent') return;
  if (misdeed?.kind === 'garbage') {
    response.socket?.end(misdeed.bytes);
    return;
  }
  if (misdeed?.kind === 'slow-headers') {
    const { socket } = response;
    socket?.write(`HTTP/1.1 ${status} OK\r\n`);
    repeat(response, timers, misdeed.ms, () => socket?.write('x-slow: yes\r\n'));
    return;
  }
  response.strictContentLength = false;
  response.writeHead(status, {
    ...(!chunked && { 'content-length': String(bytes.length) }),
    ...headers,
  });
  if (method === 'HEAD' || !misdeed) {
    response.end(bytes);
    return;
  }
  misbehave(response, bytes, misdeed, timers);
}

function misbehave(
  response: ServerResponse,
  bytes: Buffer,
  misdeed: Misdeed,
  timers: Set<NodeJS.Timeout>,
): void {
  response.flushHeaders();
  if (misdeed.kind === 'stall') response.write(bytes.subarray(0, misdeed.after));
  if (misdeed.kind === 'reset') {
    response.write(bytes.subarray(0, misdeed.after), () => response.socket?.destroy());
  }
  if (misdeed.kind === 'drip') {
    let at = 0;
    repeat(response, timers, misdeed.ms, () => {
      response.write(bytes.subarray(at, at + 1));
      at += 1;
      if (at >= bytes.length) response.end();
    });
  }
  if (misdeed.kind === 'endless') {
    const more = (): void => {
      while (!response.destroyed && response.write(bytes));
    };
    response.on('drain', more);
    more();
  }
}

function repeat(
  response: ServerResponse,
  timers: Set<NodeJS.Timeout>,
  ms: number,
  action: () => void,
): void {
  const timer = setInterval(() => {
    if (response.destroyed || response.writableEnded || response.socket?.destroyed)
      clearInterval(timer);
    else action();
  }, ms);
  timers.add(timer);
}
