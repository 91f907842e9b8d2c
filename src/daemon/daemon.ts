import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { FileCache } from '../cache/file-cache.js';
import type { NodeConfig } from '../config.js';
import { parseDigest } from '../digest.js';
import { describeError, fromSystemError, isThinError, ThinError } from '../errors.js';
import { detachLeftovers } from '../mount/leftovers.js';
import { Containers } from './containers.js';
import type { CheckedRequest, ImageRequest, ImageSummary, NodeStatus } from './control-api.js';
import { type CallContext, type ControlHandlers, ControlServer } from './control-server.js';
import type { StopOrder } from './holder-protocol.js';
import { ImageFolder, type ImageRecord } from './image-folder.js';
import { ImageOpener } from './image-opener.js';
import type { LiveImage } from './live-image.js';
import { LiveImages } from './live-images.js';
import { failedReadLog, openLog, outageLog } from './log.js';
import { loggedHandlers } from './logged-handlers.js';
import { Mounts } from './mounts.js';
import { Observability } from './observability.js';
import { Ownership } from './ownership.js';
import { Stores } from './stores.js';
import { Trees } from './trees.js';

/** Owns everything of one node; opens it in order, closes it in reverse. */
export class Daemon implements AsyncDisposable {
  readonly #config: NodeConfig;
  readonly #version: string;
  readonly #owned: Ownership;
  readonly #cache: FileCache;
  readonly #images: ImageFolder;
  readonly #live: LiveImages;
  readonly #opener: ImageOpener;
  readonly #trees: Trees;
  readonly #mounts: Mounts;
  readonly #containers: Containers;
  readonly #observability: Observability;
  readonly #startedAt = Date.now();
  readonly #stop = new AbortController();

  private constructor(
    config: NodeConfig,
    version: string,
    owned: Ownership,
    parts: {
      cache: FileCache;
      images: ImageFolder;
      live: LiveImages;
      opener: ImageOpener;
      trees: Trees;
      mounts: Mounts;
      containers: Containers;
      observability: Observability;
    },
  ) {
    this.#config = config;
    this.#version = version;
    this.#owned = owned;
    this.#cache = parts.cache;
    this.#images = parts.images;
    this.#live = parts.live;
    this.#opener = parts.opener;
    this.#trees = parts.trees;
    this.#mounts = parts.mounts;
    this.#containers = parts.containers;
    this.#observability = parts.observability;
  }

  /** @throws ThinError `busy` if another daemon has this root; `denied`, `no-space` */
  static async open(config: NodeConfig, version: string): Promise<Daemon> {
    const log = openLog(config.logLevel);
    const { root, runFolder, cacheSize, freeSpaceFloor, tiers } = config;
    const owned = new Ownership();
    try {
      const reads = { deadlineMs: config.readDeadlineMs, onFailure: failedReadLog(log) };
      const limits = { quotaBytes: cacheSize, freeSpaceFloorBytes: freeSpaceFloor };
      const cache = owned.use(await FileCache.open({ root, tiers, log, reads, ...limits }));
      makeRunFolder(runFolder);
      for (const folder of [join(runFolder, 'trees'), root]) {
        const { detached } = await detachLeftovers(folder);
        if (detached.length > 0) log.warn({ detached }, 'a dead daemon left these mounts');
      }
      for (const lease of await cache.leases()) if (!lease.alive) await cache.releaseLease(lease);
      const images = await ImageFolder.open(root, (error) => {
        log.warn({ reason: describeError(error) }, 'an image folder is left out');
      });
      const stores = owned.use(new Stores(outageLog(log)));
      const live = new LiveImages(images, cache, stores);
      const trees = owned.use(new Trees(runFolder, cache, log));
      const mounts = owned.use(new Mounts(root, trees));
      const detached = await mounts.detachLeftovers();
      if (detached.length > 0) log.warn({ detached }, 'a dead daemon left these mounts');
      const containers = owned.use(await Containers.open(root, runFolder, trees));
      const opener = new ImageOpener(images, stores, cache);
      const observability = owned.use(
        await Observability.open(
          { cache, images, live, stores, mounts: () => [...mounts.list(), ...containers.list()] },
          config.metrics,
          log,
        ),
      );
      const parts = { cache, images, live, opener, trees, mounts, containers, observability };
      const daemon = new Daemon(config, version, owned, parts);
      const pages = {
        readFile: daemon.#readFile.bind(daemon),
        metrics: observability.metrics,
      };
      const handlers = loggedHandlers(daemon.#handlers(), log);
      owned.use(await ControlServer.open(config.socket, handlers, pages, log));
      log.info({ root, pid: process.pid, version }, 'ready');
      return daemon;
    } catch (error) {
      await owned[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** @throws ThinError `busy` if mounts would end that are to go on, unless `force` */
  requestStop({ force, unmount }: StopOrder): void {
    const mounted = (unmount ? 0 : this.#mounts.list().length) + this.#containers.running;
    if (mounted > 0 && !force) {
      throw new ThinError(
        'busy',
        `Cannot stop the daemon: ${mounted} mounts would end (thin unmount them, or --force)`,
      );
    }
    this.#stop.abort();
  }

  /** Resolves when {@link requestStop} or `signal` says so. */
  async stopped(signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.#stop.signal.aborted) return;
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
      this.#stop.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]();
  }

  #handlers(): ControlHandlers {
    return {
      'image.open': async (request, context) =>
        this.#summary(await this.#opener.open(request, context)),
      mount: async (request, context) => {
        return this.#mounts.mount(await this.#bring(request, context), request);
      },
      unmount: ({ target, force }) => this.#mounts.unmount(target, force),
      'container.create': (request, context) => this.#createContainer(request, context),
      'container.attach': async ({ id }, context) => {
        this.#containers.attach(id);
        context.hold(() => void this.#containers.lost(id));
        return null;
      },
      'container.end': async ({ id, exitCode }) => {
        await this.#containers.end(id, exitCode);
        return null;
      },
      'container.remove': async ({ id }) => {
        await this.#containers.remove(id);
        return null;
      },
      status: () => this.#status(),
      why: ({ name }) => this.#observability.view.why(name),
      activity: () => this.#observability.view.activity(),
      gc: ({ all }) => this.#collectGarbage(all),
    };
  }

  /** An image whose files on this node were damaged is fetched once more. */
  async #bring(request: ImageRequest, context: CallContext): Promise<LiveImage> {
    const record = await this.#opener.open(request, context);
    const manifest = parseDigest(record.manifest);
    try {
      return await this.#live.get(manifest);
    } catch (error) {
      if (!isThinError(error, 'corrupt', 'not-found') || request.pull === 'never') throw error;
      context.note(`${error.message}; fetching it again`);
      await this.#images.remove(manifest);
      const again = await this.#opener.open(request, context);
      return this.#live.get(parseDigest(again.manifest));
    }
  }

  async #createContainer(request: CheckedRequest<'container.create'>, context: CallContext) {
    const image = await this.#bring(request, context);
    const start = await this.#containers.create(image, request, context.signal);
    context.hold(() => void this.#containers.lost(start.id));
    return start;
  }

  async #readFile(manifest: string, path: string, signal: AbortSignal) {
    return (await this.#live.get(parseDigest(manifest))).openPath(path, signal);
  }

  #summary(record: ImageRecord): ImageSummary {
    const manifest = parseDigest(record.manifest);
    const thin = record.kind === 'thin';
    return {
      manifest,
      references: record.references,
      kind: record.kind,
      platform: record.platform,
      fileBytes: record.fileBytes,
      files: record.files,
      metadataPath: this.#images.path(manifest, 'metadata'),
      configPath: this.#images.path(manifest, 'config'),
      descriptorPath: thin ? this.#images.path(manifest, 'descriptor') : undefined,
      source: record.sources.map(({ location }) => location).join(', '),
      lastUsed: record.lastUsed,
    };
  }

  async #status(): Promise<NodeStatus> {
    const usage = await this.#cache.usage();
    return {
      version: this.#version,
      pid: process.pid,
      root: this.#config.root,
      startedAt: this.#startedAt,
      cache: {
        bytes: usage.bytes,
        quota: this.#config.cacheSize,
        freeSpaceFloor: this.#config.freeSpaceFloor,
        files: usage.completeFiles,
        partialFiles: usage.partialFiles,
      },
      images: this.#images.list().map((record) => ({
        ...this.#summary(record),
        fetched: this.#live.fetched(parseDigest(record.manifest)),
      })),
      mounts: [...this.#mounts.list(), ...this.#containers.list()],
      waiting: await this.#observability.view.waiting(),
    };
  }

  /** Files of no image go always; with `all`, images that nothing has mounted go too. */
  async #collectGarbage(all: boolean) {
    await this.#containers.removeEnded();
    await this.#trees.closeIdle();
    const before = await this.#cache.usage();
    const mounted = new Set(
      [...this.#mounts.list(), ...this.#containers.list()].map(({ manifest }) => manifest),
    );
    const removed = this.#images.list().filter(({ manifest }) => all && !mounted.has(manifest));
    for (const record of removed) {
      const manifest = parseDigest(record.manifest);
      await this.#cache.unpinImage(manifest);
      this.#live.forget(manifest);
      await this.#images.remove(manifest);
    }
    for (const record of this.#images.list()) {
      if (mounted.has(record.manifest)) continue;
      const image = await this.#live.get(parseDigest(record.manifest));
      await this.#cache.rememberImage(record.manifest, image.files());
    }
    const keepImages = this.#images.list().map(({ manifest }) => manifest);
    await this.#cache.gc({ keepImages });
    const after = await this.#cache.usage();
    return {
      bytes: Math.max(0, before.bytes - after.bytes),
      files: Math.max(0, before.completeFiles - after.completeFiles),
      images: removed.length,
    };
  }
}

function makeRunFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw fromSystemError(`Cannot use ${folder} for sockets and mounts`, error);
  }
}
