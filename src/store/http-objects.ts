import type { Dispatcher } from 'undici';
import redirect from 'undici/lib/interceptor/redirect.js';
import { ThinError } from '../errors.js';
import { Agent, send } from '../http-client.js';
import { checkContentLength, checkContentRange, httpError } from './http-answer.js';
import { progressing, sliced } from './http-body.js';
import type { ObjectRange, ObjectReader } from './objects.js';
import type { FetchOptions } from './store.js';
import { storeError } from './store-error.js';

/** Milliseconds to connect. */
const connectTimeoutMs = 10_000;
const defaultSilenceMaxMs = 30_000;
/** Redirects of one request: a static host needs one or two. */
const redirectsMax = 5;
/** Connections to one host. */
const connectionsMax = 32;

export interface HttpOptions {
  /** PEM of the authorities to trust in place of the system's. */
  readonly ca?: string | undefined;
  /** Milliseconds to the first byte and between bytes of an answer. Default: 30 s */
  readonly silenceMaxMs?: number | undefined;
}

/** Files of any web server: read only, by ranges where it can, else by skipping through the whole. */
export class HttpObjects implements ObjectReader {
  readonly #base: URL;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #agent: Agent;
  readonly #dispatcher: Dispatcher;

  /** @param location `http(s)://[user:password@]host/path[?query]`; the query goes with every request */
  constructor(location: string, options: HttpOptions) {
    const base = new URL(location);
    const { username, password } = base;
    this.#headers =
      username === '' ? {} : { authorization: basicAuthorization(username, password) };
    base.username = '';
    base.password = '';
    base.hash = '';
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    this.#base = base;
    const { silenceMaxMs = defaultSilenceMaxMs } = options;
    this.#agent = new Agent({
      connect: { timeout: connectTimeoutMs, ...(options.ca ? { ca: options.ca } : {}) },
      connections: connectionsMax,
      headersTimeout: silenceMaxMs,
      bodyTimeout: silenceMaxMs,
    });
    // Drops the authorization on the way to another origin.
    this.#dispatcher = this.#agent.compose(redirect({ maxRedirections: redirectsMax }));
  }

  async *openRange(
    path: string,
    range: ObjectRange,
    signal: AbortSignal,
    options: FetchOptions = {},
  ): AsyncGenerator<Buffer> {
    if (range.length === 0) return;
    const action = `Cannot read ${path} of ${this}`;
    try {
      const answer = await this.#get(path, signal, {
        range: `bytes=${range.offset}-${range.offset + range.length - 1}`,
        ...(options.fresh ? { 'cache-control': 'no-cache' } : {}),
      });
      yield* bodyOfRange(answer, range, action);
    } catch (error) {
      throw storeError(action, error, signal);
    }
  }

  async readSmall(path: string, bytesMax: number, signal: AbortSignal) {
    const action = `Cannot read ${path} of ${this}`;
    try {
      const answer = await this.#get(path, signal, { 'cache-control': 'no-cache' });
      if (answer.statusCode === 404 || answer.statusCode === 410) {
        await answer.body.dump();
        return undefined;
      }
      if (answer.statusCode !== 200) throw await httpError(answer, action);
      return await readAtMost(progressing(answer.body, action), bytesMax, action);
    } catch (error) {
      throw storeError(action, error, signal);
    }
  }

  #get(path: string, signal: AbortSignal, headers: Readonly<Record<string, string>>) {
    const url = new URL(path.split('/').map(encodeURIComponent).join('/'), this.#base);
    url.search = this.#base.search;
    return send(this.#dispatcher, url, {
      method: 'GET',
      signal,
      headers: { ...this.#headers, 'accept-encoding': 'identity', ...headers },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  /** Without password and query, which may be a signature. */
  toString(): string {
    return `${this.#base.origin}${this.#base.pathname}`;
  }
}

async function* bodyOfRange(
  answer: Dispatcher.ResponseData,
  range: ObjectRange,
  action: string,
): AsyncGenerator<Buffer> {
  const encoding = answer.headers['content-encoding'] ?? 'identity';
  const partial = answer.statusCode === 206;
  if ((!partial && answer.statusCode !== 200) || encoding !== 'identity') {
    throw await httpError(answer, action);
  }
  try {
    if (partial) checkContentRange(answer.headers['content-range'], range, action);
    else checkContentLength(answer.headers['content-length'], range, action);
  } catch (error) {
    drop(answer.body);
    throw error;
  }
  const skipped = partial ? 0 : range.offset;
  yield* sliced(progressing(answer.body, action), skipped, range.length, action);
}

/** Ends an answer that is not read; undici tells of that by an error event. */
function drop(body: Dispatcher.ResponseData['body']): void {
  body.on('error', () => {});
  body.destroy();
}

async function readAtMost(source: AsyncIterable<Buffer>, bytesMax: number, action: string) {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const bytes of source) {
    size += bytes.length;
    if (size > bytesMax) throw new ThinError('corrupt', `${action}: more than ${bytesMax} bytes`);
    pieces.push(bytes);
  }
  return Buffer.concat(pieces);
}

function basicAuthorization(username: string, password: string): string {
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}
