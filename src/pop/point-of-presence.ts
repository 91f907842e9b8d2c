/*
 * src/pop: the nodes of one site as one cache. Redis for agreement (agreement.ts, KEYS.md), frames
 * from node to node (peers.ts, peer-server.ts), and SiteFetch, which puts both in front of an origin.
 * Nothing here is needed to read a file: whatever fails, the origin is asked instead.
 */
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fromSystemError, ThinError } from '../errors.js';
import { type PopConfig, secretBytesMin } from '../pop-option.js';
import { systemClock } from '../store/clock.js';
import type { CountedFrameSource } from '../store/frame-source.js';
import type { ThinImageSource } from '../thin/image-store.js';
import { Agreement } from './agreement.js';
import { FetchTimes } from './fetch-times.js';
import { FrameShelf } from './frame-shelf.js';
import type { ImageUses } from './image-uses.js';
import { InHand } from './in-hand.js';
import type { LeaseCounts } from './leases.js';
import type { Member } from './members.js';
import { SiteSecret } from './peer-auth.js';
import { PeerServer, type Served } from './peer-server.js';
import { type PeerCounts, Peers } from './peers.js';
import { PopBlobs } from './pop-blobs.js';
import type { AloneCounts, PopCounts } from './pop-counts.js';
import { PopFrames } from './pop-frames.js';
import { type LayerOrigin, PopLayer } from './pop-layers.js';
import { PopWords } from './pop-words.js';
import { SiteFetch } from './site-fetch.js';
import { NodeKey } from './voucher.js';

/** Milliseconds between looks for peers that are gone. */
const tidyMs = 60_000;

export interface PopPlaces {
  /** The node's state; what is ours lies in `pop` below it. */
  readonly root: string;
  readonly freeSpaceFloorBytes: number;
  /** Redis does not answer any more, with why; or does again. */
  readonly onTurn: (why: ThinError | undefined) => void;
  /** Milliseconds that a read may lose to a Redis that does not answer; 50 if not given. */
  readonly redisAnswerMs?: number;
}

export interface PopReport {
  readonly node: string;
  /** Whether Redis answers. */
  readonly agreed: boolean;
  /** What they tell of themselves is ten seconds old at most. */
  readonly members: readonly Member[];
  /** What the living ones keep for the site, all together. */
  readonly shared: { readonly frames: number; readonly bytes: number };
  readonly counts: PopCounts;
  /** Pieces that came without an agreement, by why. */
  readonly aloneFor: AloneCounts;
  readonly peers: PeerCounts;
  readonly served: Served;
  readonly shelf: FrameShelf['usage'];
  readonly leases: LeaseCounts;
}

/** This node as one of its site. */
export class PointOfPresence implements AsyncDisposable {
  readonly #shelf: FrameShelf;
  readonly #server: PeerServer;
  readonly #agreement: Agreement;
  readonly #peers: Peers;
  readonly #fetch: SiteFetch;
  /** What the nodes tell each other. */
  readonly words: PopWords;
  readonly counts: PopCounts = {
    shelf: { frames: 0, bytes: 0 },
    peers: { frames: 0, bytes: 0 },
    origin: { frames: 0, bytes: 0 },
    alone: { frames: 0, bytes: 0 },
  };
  readonly aloneFor: AloneCounts = { unready: 0, unanswered: 0, fetching: 0, notGiven: 0 };
  readonly #tidy: NodeJS.Timeout;

  /**
   * Does not wait for Redis. @throws ThinError if the secret cannot be read, the address cannot be
   * had, or the folder cannot be used
   */
  static async open(config: PopConfig, places: PopPlaces): Promise<PointOfPresence> {
    const folder = join(places.root, 'pop');
    const secret = new SiteSecret(await readSecret(config.secretFile));
    const key = await NodeKey.open(folder);
    const shelf = await FrameShelf.open({
      folder: join(folder, 'frames'),
      quotaBytes: config.sizeBytes,
      policy: config.policy,
      freeSpaceFloorBytes: places.freeSpaceFloorBytes,
    });
    const { uploadBytesPerSecond, listen } = config;
    const inHand = new InHand();
    const serving = { ...listen, secret, shelf, inHand, uploadBytesPerSecond };
    const server = await PeerServer.open(serving);
    const peers = new Peers(secret, key, systemClock);
    const startedAt = Date.now();
    const agreement = await Agreement.open({
      ...{ redis: config.redis, nodeName: key.nodeName, onTurn: places.onTurn },
      answerMs: places.redisAnswerMs,
      isThere: (member) => peers.isThere(member),
      onDeath: (node) => peers.died(node),
      info: (localAddress, { held, waiting }) => {
        const host = listen.host ?? localAddress;
        const url = host === undefined ? undefined : urlOf(host, server.port);
        const { frames, bytes } = shelf.usage;
        const work = { kept: { frames, bytes }, held, waiting };
        return { host: hostname(), startedAt, work, ...(url !== undefined && { url }) };
      },
    });
    return new PointOfPresence(shelf, server, agreement, peers, inHand);
  }

  private constructor(
    shelf: FrameShelf,
    server: PeerServer,
    agreement: Agreement,
    peers: Peers,
    inHand: InHand,
  ) {
    this.#shelf = shelf;
    this.#server = server;
    this.#agreement = agreement;
    this.#peers = peers;
    const { counts, aloneFor: aloneCounts } = this;
    const fetchTimes = new FetchTimes();
    const parts = { agreement, peers, shelf, counts, aloneCounts, inHand, fetchTimes };
    this.#fetch = new SiteFetch(parts);
    this.words = new PopWords(agreement, peers, shelf);
    this.#tidy = setInterval(() => {
      const members = new Set(agreement.members.list().map(({ node }) => node));
      peers.forget((node) => members.has(node));
    }, tidyMs).unref();
  }

  /** Which images are mounted where. @param told called with what any node announces */
  uses(told: (message: string) => void): ImageUses {
    this.#agreement.onAnnounced(told);
    return this.#agreement.uses;
  }

  /** @param inUse digests of the manifests of what is mounted here now */
  begin(inUse: () => readonly string[]): void {
    this.#agreement.uses.begin(inUse);
  }

  /** Puts the site in front of an image's origin. */
  frames(origin: CountedFrameSource): CountedFrameSource {
    return new PopFrames(origin, this.#fetch);
  }

  /** Puts it in front of the store of an image's metadata. */
  blobs(store: ThinImageSource): ThinImageSource {
    return new PopBlobs(store, this.#fetch);
  }

  /** Puts it in front of the registry of a layer that is pulled in full. */
  layer(origin: LayerOrigin): PopLayer {
    return new PopLayer(origin, this.#fetch);
  }

  report(): PopReport {
    const members = this.#agreement.members.list();
    return {
      node: this.#agreement.node,
      agreed: this.#agreement.ready,
      members,
      shared: sharedBy(members),
      counts: this.counts,
      aloneFor: this.aloneFor,
      peers: this.#peers.counts,
      served: this.#server.served,
      shelf: this.#shelf.usage,
      leases: this.#agreement.leases.counts,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#tidy);
    await this.#agreement[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
    await this.#peers[Symbol.asyncDispose]();
  }
}

function sharedBy(members: readonly Member[]): PopReport['shared'] {
  const kept = members.flatMap(({ alive, info }) => (alive && info.work ? [info.work.kept] : []));
  return {
    frames: kept.reduce((sum, { frames }) => sum + frames, 0),
    bytes: kept.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

async function readSecret(file: string): Promise<Buffer> {
  try {
    const secret = await readFile(file);
    if (secret.length >= secretBytesMin) return secret;
  } catch (error) {
    throw fromSystemError(`Cannot read the PoP's secret ${file}`, error);
  }
  const wanted = `wanted ${secretBytesMin} bytes or more`;
  throw new ThinError(
    'invalid',
    `Cannot use the PoP's secret ${file}: it is too short (${wanted})`,
  );
}

function urlOf(host: string, port: number): string {
  return host.includes(':') ? `http://[${host}]:${port}` : `http://${host}:${port}`;
}
