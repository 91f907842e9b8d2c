import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { type ErrorCode, errorCodes, isThinError, ThinError } from '../errors.js';
import type { ControlEvent, ControlMethod, ControlRequest, ControlResults } from './control-api.js';

export type ProgressEvent = Extract<ControlEvent, { event: 'note' | 'progress' | 'pull' }>;

/** An answered request whose connection stays open: closing it ends what it holds. */
export interface Held<T> {
  readonly result: T;
  /** Resolves when the connection has closed, from whichever side. */
  readonly lost: Promise<void>;
  close(): void;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  readonly onEvent?: (event: ProgressEvent) => void;
  /**
   * Makes sure that a daemon runs. For a request that may be made again when the daemon dies over it:
   * one that changes nothing, that has a `requestId`, or that finds done what was done of it, as a pull.
   */
  readonly reconnect?: () => Promise<unknown>;
}

/** Nobody has answered: a daemon has died over the request, or before it. */
interface Unanswered {
  readonly why: ThinError;
  /** Whether it took the request. */
  readonly taken: boolean;
}

/** Times that a request is made: one that daemons die of is made no more. */
const triesMax = 3;
/** Milliseconds for which one that was killed may still seem to listen, and between two looks. */
const dyingMs = 2000;
const dyingLookMs = 20;
/** Looks in any case: this process may have stood still meanwhile, and the dying one too. */
const dyingLooksMin = 10;

/** Speaks to the daemon that listens on `socket`. */
export class ControlClient {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /**
   * One request, answered.
   * @throws ThinError `unavailable` if no daemon listens, else whatever the daemon answered
   */
  async call<M extends ControlMethod>(
    method: M,
    body: ControlRequest<M>,
    options: CallOptions,
  ): Promise<ControlResults[M]> {
    const held = await this.hold(method, body, options);
    held.close();
    return held.result;
  }

  /** As {@link call}, but the daemon keeps what it made until `close()` or until we die. */
  async hold<M extends ControlMethod>(
    method: M,
    body: ControlRequest<M>,
    options: CallOptions,
  ): Promise<Held<ControlResults[M]>> {
    let diedAt = Number.NEGATIVE_INFINITY;
    let looks = dyingLooksMin;
    for (let tries = 1; ; ) {
      const answer = await this.#ask(method, body, options);
      if (!('why' in answer)) return answer;
      if (!options.reconnect) throw answer.why;
      const mayBeDying = looks < dyingLooksMin || performance.now() - diedAt < dyingMs;
      if (!answer.taken && mayBeDying) {
        looks += 1;
        await delay(dyingLookMs);
        await options.reconnect();
        continue;
      }
      if (tries === triesMax) throw answer.why;
      tries += 1;
      [diedAt, looks] = [performance.now(), 0];
      await options.reconnect();
      options.onEvent?.({ event: 'note', message: 'the daemon is gone: asking the next one' });
    }
  }

  async #ask<M extends ControlMethod>(
    method: M,
    body: ControlRequest<M>,
    options: CallOptions,
  ): Promise<Held<ControlResults[M]> | Unanswered> {
    const sent = await this.#send('POST', `/v1/${method}`, options.signal, body);
    if ('why' in sent) return sent;
    const { request, response } = sent;
    const lost = new Promise<void>((resolve) => {
      request.once('close', () => resolve());
    });
    const lines = createInterface({ input: response });
    // A daemon that dies while it holds something for us: the next call tells.
    lines.on('error', () => {});
    try {
      for await (const line of lines) {
        // The daemon is this same program: its lines need no schema.
        const event: ControlEvent = JSON.parse(line);
        if (event.event === 'error') throw new ThinError(errorCode(event.code), event.message);
        if (event.event === 'result') {
          const result = event.result as ControlResults[M];
          return { result, lost, close: () => request.destroy() };
        }
        options.onEvent?.(event);
      }
      return { why: wentAway(), taken: true };
    } catch (error) {
      request.destroy();
      if (isAbort(error, options.signal)) throw canceled(error);
      if (isThinError(error)) throw error;
      return { why: wentAway(error), taken: true }; // in the middle of a line, too
    }
  }

  /** The bytes of one file of an image that is on this node. */
  async *readFile(
    manifest: string,
    path: string,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    const query = new URLSearchParams({ manifest, path });
    const sent = await this.#send('GET', `/v1/file?${query}`, signal);
    if ('why' in sent) throw sent.why;
    const { response } = sent;
    if (response.statusCode !== 200) {
      const chunks: Buffer[] = await response.toArray();
      const { code, message } = JSON.parse(Buffer.concat(chunks).toString('utf8'));
      throw new ThinError(errorCode(code), String(message));
    }
    try {
      yield* response as AsyncIterable<Buffer>;
    } catch (error) {
      if (isAbort(error, signal)) throw canceled(error);
      throw new ThinError('unavailable', `Cannot read ${path}: it broke off`, { cause: error });
    }
  }

  async #send(
    verb: string,
    path: string,
    signal: AbortSignal,
    body?: unknown,
  ): Promise<{ request: ClientRequest; response: IncomingMessage } | Unanswered> {
    const request = httpRequest({ socketPath: this.#socket, path, method: verb, signal });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.on('error', reject);
    });
    request.end(body === undefined ? undefined : JSON.stringify(body));
    try {
      return { request, response: await answered };
    } catch (error) {
      if (isAbort(error, signal)) throw canceled(error);
      const what = `Cannot reach the daemon at ${this.#socket}`;
      return { why: new ThinError('unavailable', what, { cause: error }), taken: false };
    }
  }
}

function isAbort(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted && error instanceof Error && !isThinError(error);
}

function wentAway(cause?: unknown): ThinError {
  return new ThinError('unavailable', 'Cannot finish the command: the daemon went away', { cause });
}

function canceled(cause: unknown): ThinError {
  return new ThinError('canceled', 'Canceled', { cause });
}

function errorCode(text: string): ErrorCode {
  return errorCodes.find((code) => code === text) ?? 'unavailable';
}
