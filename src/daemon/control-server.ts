import { once } from 'node:events';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { describeError, fromSystemError, isThinError, ThinError } from '../errors.js';
import type { PullProgress } from '../pull/pull-run.js';
import {
  type CheckedRequest,
  type ControlEvent,
  type ControlMethod,
  type ControlResults,
  controlSchemas,
} from './control-api.js';
import { answerPage, type WebPages } from './web-pages.js';

/** What a method is given beside its request. */
export interface CallContext {
  /** Aborted when the client goes away before its answer. */
  readonly signal: AbortSignal;
  note(message: string): void;
  progress(job: string, done: number, total: number): void;
  pull(digests: readonly string[], progress: PullProgress): void;
  /**
   * Keeps the connection open after the result; `onLost` runs once when it closes, which is when the
   * client called `close()`, ended or was killed.
   */
  hold(onLost: () => void): void;
}

export type ControlHandlers = {
  readonly [M in ControlMethod]: (
    request: CheckedRequest<M>,
    context: CallContext,
  ) => Promise<ControlResults[M]>;
};

/** The bytes of a file of an image, for `GET /v1/file`. */
export type FileReader = (
  manifest: string,
  path: string,
  signal: AbortSignal,
) => Promise<{ size: number; bytes: AsyncIterable<Buffer> }>;

/** What is answered to GET. */
export interface ControlPages extends WebPages {
  readonly readFile: FileReader;
}

/** What is known of the next server, when this one ends. */
export interface Succession {
  /** One is started at once: who has no answer asks that one. */
  readonly isFollowed: boolean;
}

/** Milliseconds for clients to take the answer of a daemon that ends. */
const farewellMs = 1000;
/** Bytes of one request: the longest have command lines and environments in them. */
const requestBytesMax = 4 * 1024 * 1024;

/** Answers the commands on a Unix socket that only the owner of the node's state can reach. */
export class ControlServer {
  readonly #server: Server;
  readonly #handlers: ControlHandlers;
  readonly #pages: ControlPages;
  readonly #log: Logger;
  readonly #succession: Succession;
  /** That have no answer yet. */
  readonly #open = new Set<ServerResponse>();

  private constructor(
    handlers: ControlHandlers,
    pages: ControlPages,
    log: Logger,
    succession: Succession,
  ) {
    this.#handlers = handlers;
    this.#pages = pages;
    this.#log = log;
    this.#succession = succession;
    this.#server = createServer({ keepAlive: false }, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.requestTimeout = 0;
  }

  /** The caller holds the lock of this root, so a socket file that is there belongs to nobody. */
  static async open(
    socket: string,
    handlers: ControlHandlers,
    pages: ControlPages,
    log: Logger,
    succession: Succession,
  ): Promise<ControlServer> {
    const control = new ControlServer(handlers, pages, log, succession);
    try {
      mkdirSync(dirname(socket), { recursive: true, mode: 0o700 });
      chmodSync(dirname(socket), 0o700);
      rmSync(socket, { force: true });
      await new Promise<void>((resolve, reject) => {
        control.#server.once('error', reject);
        control.#server.listen(socket, resolve);
      });
    } catch (error) {
      throw fromSystemError(`Cannot listen on ${socket}`, error);
    }
    return control;
  }

  /** Who has no answer is told: a connection that just ends means that the next server is to be asked. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    if (!this.#succession.isFollowed) await this.#sayFarewell();
    this.#server.closeAllConnections();
    await closed;
  }

  async #sayFarewell(): Promise<void> {
    const waiting = [...this.#open].filter((response) => !response.closed);
    const told = waiting.map((response) => {
      const ended = once(response, 'close');
      const what = 'Cannot finish the command: the daemon is being stopped';
      endWith(response, new ThinError('unavailable', what));
      return ended;
    });
    await Promise.race([Promise.all(told), delay(farewellMs, undefined, { ref: false })]);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    try {
      const url = new URL(request.url ?? '/', 'http://daemon');
      if (request.method === 'GET' && url.pathname === '/v1/file') {
        await this.#sendFile(url.searchParams, response, gone.signal);
      } else if (!(request.method === 'GET' && (await answerPage(this.#pages, url, response)))) {
        await this.#call(url.pathname, request, response, gone.signal);
      }
    } catch (error) {
      this.#fail(response, error, gone.signal);
    }
  }

  async #sendFile(
    query: URLSearchParams,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const [manifest, path] = [query.get('manifest') ?? '', query.get('path') ?? ''];
    const { size, bytes } = await this.#pages.readFile(manifest, path, signal);
    const pieces = bytes[Symbol.asyncIterator]();
    // Most failures show before the first byte, where they can still be told.
    const first = await pieces.next();
    response.writeHead(200, { 'content-length': size });
    await pipeline(async function* () {
      for (let piece = first; !piece.done; piece = await pieces.next()) yield piece.value;
    }, response);
  }

  async #call(
    path: string,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const method = path.slice('/v1/'.length);
    if (request.method !== 'POST' || !isControlMethod(method)) {
      throw new ThinError('not-found', `Cannot answer ${request.method} ${path}: no such method`);
    }
    const body = await readJson(request);
    // Who has no more than that when we die knows that it was taken.
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
    const send = (event: ControlEvent): void => {
      if (response.writableEnded) return; // it was told that we end
      response.write(`${JSON.stringify(event)}\n`);
    };
    let onLost: (() => void) | undefined;
    const context: CallContext = {
      signal,
      note: (message) => send({ event: 'note', message }),
      progress: (job, done, total) => send({ event: 'progress', job, done, total }),
      pull: (digests, progress) => send({ event: 'pull', digests, ...progress }),
      hold: (lost) => {
        onLost = lost;
      },
    };
    this.#open.add(response);
    const result = await this.#dispatch(method, body, context).finally(() => {
      this.#open.delete(response);
    });
    const lost = onLost;
    if (!lost) {
      send({ event: 'result', result });
      response.end();
    } else if (signal.aborted || response.writableEnded) {
      lost();
    } else {
      signal.addEventListener('abort', lost, { once: true });
      send({ event: 'result', result });
    }
  }

  async #dispatch<M extends ControlMethod>(
    method: M,
    body: unknown,
    context: CallContext,
  ): Promise<ControlResults[M]> {
    const parsed = controlSchemas[method].safeParse(body);
    if (!parsed.success) {
      const problem = parsed.error.issues[0];
      const where = problem?.path.join('.') || 'request';
      throw new ThinError('invalid', `Cannot ${method}: ${where}: ${problem?.message}`);
    }
    return this.#handlers[method](parsed.data as CheckedRequest<M>, context);
  }

  #fail(response: ServerResponse, error: unknown, signal: AbortSignal): void {
    if (!isThinError(error)) this.#log.error({ err: error }, 'defect while answering a command');
    if (!signal.aborted && !response.writableEnded) endWith(response, error);
  }
}

function endWith(response: ServerResponse, error: unknown): void {
  const code = isThinError(error) ? error.code : 'unavailable';
  const event: ControlEvent = { event: 'error', code, message: describeError(error) };
  if (!response.headersSent) {
    const status = response.req.method === 'GET' ? 500 : 200;
    response.writeHead(status, { 'content-type': 'application/x-ndjson' });
  } else if (response.req.method === 'GET') {
    // A file that broke off must not look whole.
    response.destroy();
    return;
  }
  response.end(`${JSON.stringify(event)}\n`);
}

function isControlMethod(text: string): text is ControlMethod {
  return Object.hasOwn(controlSchemas, text);
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > requestBytesMax) throw new ThinError('invalid', 'Cannot read request: too long');
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw new ThinError('invalid', 'Cannot read request: no JSON', { cause: error });
  }
}
