import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { fromSystemError } from '../errors.js';
import { systemClock } from '../store/clock.js';
import { Bandwidth } from '../store/paced-frames.js';
import type { FrameShelf } from './frame-shelf.js';
import { nonceForm, nonceHeader, proofHeader, type SiteSecret } from './peer-auth.js';
import type { FetchName } from './pop-keys.js';

/** Bytes of a frame as it is sent: as many as the format allows, and some. */
export const frameBytesMax = 1024 * 1024;
/** Requests answered at the same time, and milliseconds that one may wait for its share of the rate. */
const answersMax = 256;
const shareWaitMaxMs = 200;
/** Milliseconds for a request to arrive whole, and for which a connection may lie idle. */
const requestTimeoutMs = 10_000;
const idleTimeoutMs = 60_000;

export interface PeerServerOptions {
  readonly host: string | undefined;
  /** 0: any that is free. */
  readonly port: number;
  readonly secret: SiteSecret;
  readonly shelf: FrameShelf;
  /** Bytes a second that all answers together may take. */
  readonly uploadBytesPerSecond: number;
}

interface Answer {
  readonly status: 200 | 204 | 404 | 503;
  readonly body?: Buffer;
}

/** What this node has given to the others. */
export interface Served {
  requests: number;
  bytes: number;
  /** Requests that were turned away as too much was going on. */
  busy: number;
  /** Requests without a proof that their sender knows the site's secret. */
  refused: number;
}

/** Gives frames to the nodes of this site: `GET`, `PUT` and `DELETE` of `/v1/frame/<name>`. */
export class PeerServer implements AsyncDisposable {
  readonly served: Served = { requests: 0, bytes: 0, busy: 0, refused: 0 };
  readonly #server: Server;
  readonly #options: PeerServerOptions;
  readonly #upload: Bandwidth;
  readonly #closing = new AbortController();
  #answering = 0;

  private constructor(options: PeerServerOptions) {
    this.#options = options;
    this.#upload = new Bandwidth(options.uploadBytesPerSecond, systemClock);
    this.#server = createServer((request, response) => void this.#handle(request, response));
    this.#server.requestTimeout = requestTimeoutMs;
    this.#server.keepAliveTimeout = idleTimeoutMs;
  }

  /** @throws ThinError `busy`, `denied`, `unavailable` if the address cannot be had */
  static async open(options: PeerServerOptions): Promise<PeerServer> {
    const peer = new PeerServer(options);
    try {
      await new Promise<void>((resolve, reject) => {
        peer.#server.once('error', reject);
        peer.#server.listen(options.port, options.host, resolve);
      });
    } catch (error) {
      const where = `${options.host ?? 'all addresses'} port ${options.port}`;
      throw fromSystemError(`Cannot serve peers at ${where}`, error);
    }
    return peer;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address ? address.port : 0;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined); // the peer has gone
    try {
      await this.#answer(request, response);
    } catch {
      response.destroy();
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { secret } = this.#options;
    const [nonce, proof] = [request.headers[nonceHeader], request.headers[proofHeader]];
    const name = /^\/v1\/frame\/([0-9a-f]{32})$/.exec(request.url ?? '')?.[1];
    // Who proves nothing cannot make us take in more than a frame's bytes, nor answer with any.
    const body = await readBody(request);
    const wanted = nonceForm.test(String(nonce))
      ? secret.signRequest(String(nonce), request.method ?? '', request.url ?? '', body)
      : undefined;
    if (wanted === undefined || name === undefined || !secret.matches(proof, wanted)) {
      this.served.refused += 1;
      response.writeHead(403).end();
      return;
    }
    const { status, body: bytes = Buffer.alloc(0) } = await this.#do(
      request.method ?? '',
      name as FetchName,
      body,
    );
    const signature = secret.signAnswer(String(nonce), status, bytes);
    response.writeHead(status, { 'content-length': bytes.length, [proofHeader]: signature });
    response.end(bytes);
  }

  async #do(method: string, name: FetchName, body: Buffer): Promise<Answer> {
    const { shelf } = this.#options;
    if (method === 'PUT') {
      shelf.remember(name, body);
      void shelf.keep(name, body);
      return { status: 204 };
    }
    if (method === 'DELETE') {
      await shelf.remove(name);
      return { status: 204 };
    }
    if (this.#answering >= answersMax || this.#upload.delayMs > shareWaitMaxMs) return this.#busy();
    this.#answering += 1;
    try {
      return await this.#give(name);
    } finally {
      this.#answering -= 1;
    }
  }

  async #give(name: FetchName): Promise<Answer> {
    this.served.requests += 1;
    const bytes = await this.#options.shelf.get(name);
    if (!bytes) return { status: 404 };
    const wait = this.#upload.delayMs;
    if (wait > shareWaitMaxMs) return this.#busy();
    this.#upload.spend(bytes.length);
    if (wait > 0) await systemClock.sleep(wait, this.#closing.signal);
    this.served.bytes += bytes.length;
    return { status: 200, body: bytes };
  }

  #busy(): Answer {
    this.served.busy += 1;
    return { status: 503 };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeAllConnections();
    await closed;
  }
}

/** @throws Error where more comes than a frame may have */
async function readBody(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request) {
    size += piece.length;
    if (size > frameBytesMax) throw new Error('longer than a frame');
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
