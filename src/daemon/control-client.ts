import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
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
    options: { signal: AbortSignal; onEvent?: (event: ProgressEvent) => void },
  ): Promise<ControlResults[M]> {
    const held = await this.hold(method, body, options);
    held.close();
    return held.result;
  }

  /** As {@link call}, but the daemon keeps what it made until `close()` or until we die. */
  async hold<M extends ControlMethod>(
    method: M,
    body: ControlRequest<M>,
    options: { signal: AbortSignal; onEvent?: (event: ProgressEvent) => void },
  ): Promise<Held<ControlResults[M]>> {
    const { request, response } = await this.#send('POST', `/v1/${method}`, options.signal, body);
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
      throw wentAway();
    } catch (error) {
      request.destroy();
      if (isAbort(error, options.signal)) throw canceled(error);
      throw isThinError(error) ? error : wentAway(error); // in the middle of a line, too
    }
  }

  /** The bytes of one file of an image that is on this node. */
  async *readFile(
    manifest: string,
    path: string,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, undefined> {
    const query = new URLSearchParams({ manifest, path });
    const { response } = await this.#send('GET', `/v1/file?${query}`, signal);
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
  ): Promise<{ request: ClientRequest; response: IncomingMessage }> {
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
      throw new ThinError('unavailable', `Cannot reach the daemon at ${this.#socket}`, {
        cause: error,
      });
    }
  }
}

function isAbort(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted && error instanceof Error && !(error instanceof ThinError);
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
