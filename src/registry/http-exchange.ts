import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { fromSystemError, ThinError } from '../errors.js';
import { send } from '../http-client.js';
import { onAbort } from './abort-listener.js';
import { fromNetworkError } from './http-failure.js';
import type { Patience } from './patience.js';
import { Progress } from './progress.js';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | StreamBody;
  /** Longest wait for the answer once everything is sent. Default: {@link Patience.answerMs}. */
  readonly answerMs?: number;
  /** `Cannot <verb> <object>`: how messages begin. */
  readonly action: string;
  readonly signal: AbortSignal;
}

/** A body that can be sent again from its start. */
export interface StreamBody {
  /** Bytes. */
  readonly length: number;
  readonly open: () => AsyncIterable<Buffer>;
}

/** An answer whose headers are here. Exactly one of the three methods consumes its body. */
export interface HttpResponse {
  readonly status: number;
  /** Where it came from in the end, after redirects. */
  readonly url: URL;
  /** The first value of a header; `name` in lower case. */
  header(name: string): string | undefined;
  headerValues(name: string): readonly string[];
  /** The body as it comes, under a progress deadline. Ending early closes the connection. */
  chunks(): AsyncGenerator<Buffer, void>;
  /** The whole body; ThinError `corrupt` if it is larger than `max` bytes. */
  bytes(max: number): Promise<Buffer>;
  /** Throws the body away; keeps the connection if little is left. */
  discard(): Promise<void>;
}

/** Bytes that are read and thrown away to keep a connection. */
const discardMax = 64 * 1024;

/** What requests are sent through. */
export interface Connections {
  readonly dispatcher: Dispatcher;
  readonly patience: Patience;
  /** One for each exchange whose body is not consumed yet, for whoever must end them all. */
  readonly inFlight: Set<AbortController>;
}

/**
 * One request and its answer, no redirects followed.
 * @throws ThinError `unavailable` if the connection or a deadline breaks, `denied` for a certificate
 *   that is not trusted, `canceled` on the request's signal.
 */
export async function exchange(
  { dispatcher, patience, inFlight }: Connections,
  request: HttpRequest,
): Promise<HttpResponse> {
  const { method, url, action, signal } = request;
  const abort = new AbortController();
  inFlight.add(abort);
  const unlisten = onAbort(signal, () =>
    abort.abort(new ThinError('canceled', `${action}: canceled`, { cause: signal.reason })),
  );
  const release = (): void => {
    unlisten();
    inFlight.delete(abort);
  };
  const answer = new AnswerDeadline(request, patience, abort);
  const body = request.body === undefined ? null : answer.watching(request.body);
  try {
    const response = await send(dispatcher, url, {
      method,
      headers: { 'accept-encoding': 'identity', ...request.headers, ...lengthOf(request.body) },
      body,
      signal: abort.signal,
      reset: false, // undici would close the connection after each HEAD
      headersTimeout: 0, // both deadlines are ours: undici's do not see a slow loris
      bodyTimeout: 0,
    });
    return receive(request, response, patience, abort, release);
  } catch (error) {
    release();
    throw fromNetworkError(action, url, error);
  } finally {
    answer.answered();
  }
}

function lengthOf(body: HttpRequest['body']): Record<string, string> {
  return body === undefined ? {} : { 'content-length': String(body.length) };
}

/** Aborts a request whose answer does not come, or whose body is not taken. */
class AnswerDeadline {
  readonly #request: HttpRequest;
  readonly #patience: Patience;
  readonly #abort: AbortController;
  #timer: NodeJS.Timeout | undefined;
  #phase: 'waiting' | 'answered' = 'waiting';

  constructor(request: HttpRequest, patience: Patience, abort: AbortController) {
    this.#request = request;
    this.#patience = patience;
    this.#abort = abort;
    this.#start(request.answerMs ?? patience.answerMs);
  }

  /** The body to send; time that our own source takes does not count. */
  watching(body: Buffer | StreamBody): Buffer | Readable {
    if (Buffer.isBuffer(body)) return body;
    return Readable.from(this.#stream(body), { highWaterMark: 1 }); // nothing is read ahead
  }

  async *#stream(body: StreamBody): AsyncGenerator<Buffer> {
    this.#stop();
    try {
      for await (const bytes of body.open()) {
        this.#start(this.#patience.answerMs);
        yield bytes;
        this.#stop();
      }
    } catch (error) {
      throw fromSystemError(this.#request.action, error);
    }
    this.#start(this.#request.answerMs ?? this.#patience.answerMs);
  }

  #start(ms: number): void {
    this.#stop();
    if (this.#phase === 'answered') return;
    const { action, url } = this.#request;
    this.#timer = setTimeout(() => {
      const message = `${action}: no answer from ${url.host} in ${ms / 1000} s`;
      this.#abort.abort(new ThinError('unavailable', message));
    }, ms);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** The answer is here, perhaps before all of the body has been taken. */
  answered(): void {
    this.#phase = 'answered';
    this.#stop();
  }
}

function receive(
  { action, url }: HttpRequest,
  { statusCode, headers, body }: Dispatcher.ResponseData,
  patience: Patience,
  abort: AbortController,
  release: () => void,
): HttpResponse {
  body.on('error', () => undefined); // an abandoned body fails too; whoever reads it gets the error
  body.once('close', release);
  const headerValues = (name: string): readonly string[] => [headers[name] ?? []].flat();

  async function* chunks(): AsyncGenerator<Buffer, void> {
    const progress = new Progress(patience, () => {
      abort.abort(new ThinError('unavailable', `${action}: ${url.host} sends almost nothing`));
    });
    try {
      for await (const bytes of progress.of(body)) yield bytes;
    } catch (error) {
      throw fromNetworkError(action, url, error);
    } finally {
      body.destroy();
    }
  }

  async function bytes(max: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let length = 0;
    for await (const part of chunks()) {
      length += part.length;
      if (length > max) {
        throw new ThinError(
          'corrupt',
          `${action}: the answer is too large (wanted at most ${max} bytes)`,
        );
      }
      parts.push(part);
    }
    return Buffer.concat(parts, length);
  }

  const discard = (): Promise<void> =>
    bytes(discardMax).then(
      () => undefined,
      () => undefined,
    );

  return {
    status: statusCode,
    url,
    chunks,
    bytes,
    discard,
    headerValues,
    header: (name) => headerValues(name)[0],
  };
}
