import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { finished } from 'node:stream';
import { mapBounded } from '../cache/bounded.js';
import { fromSystemError } from '../errors.js';
import { systemClock } from '../store/clock.js';
import { Bandwidth } from '../store/paced-frames.js';
import {
  type BatchEntry,
  batchBytesMax,
  batchRequestBytesMax,
  packBatch,
  parseNames,
} from './frame-batch.js';
import type { FrameShelf } from './frame-shelf.js';
import {
  bodyHeader,
  emptyHash,
  hashForm,
  hashOf,
  nonceForm,
  nonceHeader,
  proofHeader,
  type SiteSecret,
  voucherHeader,
} from './peer-auth.js';
import type { FetchName } from './pop-keys.js';
import { parseVoucher, whoVouches } from './voucher.js';

/** Bytes of a frame as it is sent: as many as the format allows, and some. */
const frameBytesMax = 1024 * 1024;
/** Requests answered at the same time, and milliseconds that one may wait for its share of the rate. */
const answersMax = 256;
const shareWaitMaxMs = 200;
/** Bytes of all answers that are being read and sent: twice that in memory, as each is put together. */
const givingBytesMax = 64 * 1024 * 1024;
/** Frames that are read for one request at a time. */
const looksInFlight = 8;
/** Frames that are being taken in: of 1 MiB at most each. */
const takingMax = 32;
/** Connections: 16 of each of 64 nodes that ask at the same time. More are closed at once. */
const connectionsMax = 1024;
/**
 * Milliseconds for the headers of a request to arrive, for all of it, for which a connection may lie
 * idle, and between looks.
 */
const headersTimeoutMs = 5000;
const requestTimeoutMs = 10_000;
const idleTimeoutMs = 60_000;
const looksMs = 1000;

export interface PeerServerOptions {
  readonly host: string | undefined;
  /** 0: any that is free. */
  readonly port: number;
  readonly secret: SiteSecret;
  readonly shelf: FrameShelf;
  /** What this node is about to have, as it is fetching it. */
  readonly inHand: { has(name: FetchName): boolean };
  /** Bytes a second that all answers together may take. */
  readonly uploadBytesPerSecond: number;
}

interface Answer {
  readonly status: 200 | 204 | 403 | 503;
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

/** What a request asks, once its sender has shown that it knows the secret. */
interface Asked {
  readonly method: string;
  /** Undefined where it is for several. */
  readonly name: FetchName | undefined;
  readonly nonce: string;
  readonly bodyHash: string;
}

/**
 * Gives frames to the nodes of this site: `POST` of `/v1/frames` (frame-batch.ts), `PUT` and `DELETE` of
 * `/v1/frame/<name>`.
 */
export class PeerServer implements AsyncDisposable {
  readonly served: Served = { requests: 0, bytes: 0, busy: 0, refused: 0 };
  readonly #server: Server;
  readonly #options: PeerServerOptions;
  readonly #upload: Bandwidth;
  readonly #closing = new AbortController();
  #answering = 0;
  /** Of the answers that are being read and sent. */
  #givingBytes = 0;
  #taking = 0;

  private constructor(options: PeerServerOptions) {
    this.#options = options;
    this.#upload = new Bandwidth(options.uploadBytesPerSecond, systemClock);
    const limits = {
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: idleTimeoutMs,
      connectionsCheckingInterval: looksMs,
    };
    this.#server = createServer(limits, (request, response) => {
      void this.#handle(request, response);
    });
    this.#server.maxConnections = connectionsMax;
    this.#server.setTimeout(idleTimeoutMs);
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
      const asked = this.#read(request);
      if (asked) return this.#send(asked, await this.#do(asked, request, response), response);
      this.served.refused += 1;
      // Nothing that a stranger sends is taken in: what it goes on to send is cut off.
      response.writeHead(403, { connection: 'close' }).end();
    } catch {
      response.destroy();
    }
  }

  /** By its headers alone. Undefined if it is no request of a node of this site. */
  #read({ method = '', url = '', headers }: IncomingMessage): Asked | undefined {
    const { [nonceHeader]: nonce, [bodyHeader]: bodyHash = emptyHash } = headers;
    const name = /^\/v1\/frame\/([0-9a-f]{32})$/.exec(url)?.[1];
    if (name === undefined && !(method === 'POST' && url === '/v1/frames')) return undefined;
    if (typeof nonce !== 'string' || !nonceForm.test(nonce)) return undefined;
    if (typeof bodyHash !== 'string' || !hashForm.test(bodyHash)) return undefined;
    const { secret } = this.#options;
    const wanted = secret.signRequest(nonce, method, url, bodyHash);
    if (!secret.matches(headers[proofHeader], wanted)) return undefined;
    return { method, name: name as FetchName | undefined, nonce, bodyHash };
  }

  #send({ nonce }: Asked, answer: Answer, response: ServerResponse): void {
    const { status, body = Buffer.alloc(0) } = answer;
    const proof = this.#options.secret.signAnswer(nonce, status, hashOf(body));
    response.writeHead(status, { 'content-length': body.length, [proofHeader]: proof });
    response.end(body);
  }

  async #do(asked: Asked, request: IncomingMessage, response: ServerResponse): Promise<Answer> {
    const { method, name } = asked;
    if (method === 'PUT' && name) return await this.#take(name, asked, request);
    if (method === 'DELETE' && name) {
      await this.#options.shelf.remove(name);
      return { status: 204 };
    }
    if (name) return { status: 403 };
    if (this.#answering >= answersMax || this.#upload.delayMs > shareWaitMaxMs) return this.#busy();
    this.#answering += 1;
    try {
      return await this.#give(asked, request, response);
    } finally {
      this.#answering -= 1;
    }
  }

  /** What it should be is not known here: somebody has to answer for it. */
  async #take(name: FetchName, { bodyHash }: Asked, request: IncomingMessage): Promise<Answer> {
    const voucher = parseVoucher(request.headers[voucherHeader]);
    const isVouched = voucher && whoVouches(voucher, name, bodyHash) !== undefined;
    if (!isVouched) return { status: 403 };
    // What is here may have been verified; if it is wrong, it is taken away first.
    if (this.#options.shelf.has(name)) return { status: 204 };
    if (this.#taking >= takingMax) return this.#busy();
    this.#taking += 1;
    try {
      const bytes = await readBody(request, frameBytesMax);
      if (hashOf(bytes) !== bodyHash) return { status: 403 };
      this.#options.shelf.remember(name, bytes, voucher);
      void this.#options.shelf.keep(name, bytes, voucher);
      return { status: 204 };
    } finally {
      this.#taking -= 1;
    }
  }

  async #give(
    { bodyHash }: Asked,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<Answer> {
    const body = await readBody(request, batchRequestBytesMax);
    const names = hashOf(body) === bodyHash ? parseNames(body) : undefined;
    if (!names) return { status: 403 };
    this.served.requests += 1;
    const { given, bytes } = this.#choose(names);
    const wait = this.#upload.delayMs;
    const isFull = this.#givingBytes > 0 && this.#givingBytes + bytes > givingBytesMax;
    if (isFull || wait > shareWaitMaxMs) return this.#busy();
    this.#upload.spend(bytes);
    this.#givingBytes += bytes;
    // Bytes that a slow peer has not taken yet are in memory still.
    finished(response, () => {
      this.#givingBytes -= bytes;
    });
    const entries = await mapBounded(names, looksInFlight, (name) => this.#entry(name, given));
    if (wait > 0) await systemClock.sleep(wait, this.#closing.signal);
    this.served.bytes += bytes;
    return { status: 200, body: packBatch(entries) };
  }

  /** What goes into one answer, before anything is read. */
  #choose(names: readonly FetchName[]): { given: ReadonlySet<FetchName>; bytes: number } {
    const given = new Set<FetchName>();
    let bytes = 0;
    for (const name of names) {
      const size = this.#options.shelf.sizeOf(name);
      if (size === undefined) continue;
      if (given.size > 0 && bytes + size > batchBytesMax) break;
      given.add(name);
      bytes += size;
    }
    return { given, bytes };
  }

  async #entry(name: FetchName, given: ReadonlySet<FetchName>): Promise<BatchEntry> {
    const { shelf, inHand } = this.#options;
    if (!given.has(name) && shelf.has(name)) return 'later';
    return (await shelf.get(name)) ?? (inHand.has(name) ? 'fetching' : 'absent');
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

/** @throws Error where more comes than `bytesMax` */
async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request) {
    size += piece.length;
    if (size > bytesMax) throw new Error('longer than it may be');
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
