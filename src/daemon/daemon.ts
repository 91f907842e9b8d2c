import { FileCache } from '../cache/file-cache.js';
import type { NodeConfig } from '../config.js';
import { parseDigest } from '../digest.js';
import { describeError, ThinError } from '../errors.js';
import { systemClock } from '../store/clock.js';
import { Bandwidth } from '../store/paced-frames.js';
import { PacksAhead } from '../store/packs-ahead.js';
import { bringImage, openImage } from './bring-image.js';
import { collectGarbage } from './collect-garbage.js';
import { Completions } from './completions.js';
import { type HeldDevice, PartialFileEnds } from './composer.js';
import type { CheckedRequest, NodeStatus } from './control-api.js';
import { type CallContext, type ControlHandlers, ControlServer } from './control-server.js';
import { Deployments } from './deployments.js';
import { FullPulls } from './full-pulls.js';
import type { ServerStop } from './holder-protocol.js';
import { HotStarts } from './hot-starts.js';
import { HotTier, tierHandlers } from './hot-tier.js';
import { IdleMemory } from './idle-memory.js';
import { ImageArrivals } from './image-arrivals.js';
import { ImageFolder } from './image-folder.js';
import type { ImageHold } from './image-holds.js';
import { ImageOpener, type OpenContext } from './image-opener.js';
import { imageSummary } from './image-summary.js';
import type { LiveImage } from './live-image.js';
import { LiveImages } from './live-images.js';
import { failedReadLog, openLog, outageLog } from './log.js';
import { loggedHandlers } from './logged-handlers.js';
import { NodeMounts } from './node-mounts.js';
import { Observability } from './observability.js';
import { Ownership } from './ownership.js';
import { RefreshOnWrong } from './refresh-on-wrong.js';
import { makeRunFolder } from './run-folder.js';
import { SharedStarts } from './shared-starts.js';
import { openShared, openSite } from './site.js';
import { StopSwitch } from './stop-switch.js';
import { Stores } from './stores.js';
import { WholeImages } from './whole-images.js';

/** Owns everything of one node; opens it in order, closes it in reverse. */
export class Daemon implements AsyncDisposable {
  readonly #config: NodeConfig;
  readonly #version: string;
  readonly #owned: Ownership;
  readonly #cache: FileCache;
  readonly #images: ImageFolder;
  readonly #live: LiveImages;
  readonly #opener: ImageOpener;
  readonly #mounted: NodeMounts;
  readonly #completions: Completions;
  readonly #tier: HotTier;
  readonly #hot: HotStarts;
  readonly #deployments: Deployments;
  readonly #observability: Observability;
  readonly #startedAt = Date.now();
  readonly #stop: StopSwitch;

  private constructor(
    config: NodeConfig,
    version: string,
    owned: Ownership,
    stop: StopSwitch,
    parts: {
      cache: FileCache;
      images: ImageFolder;
      live: LiveImages;
      opener: ImageOpener;
      mounted: NodeMounts;
      completions: Completions;
      tier: HotTier;
      hot: HotStarts;
      deployments: Deployments;
      observability: Observability;
    },
  ) {
    this.#config = config;
    this.#version = version;
    this.#owned = owned;
    this.#stop = stop;
    this.#cache = parts.cache;
    this.#images = parts.images;
    this.#live = parts.live;
    this.#opener = parts.opener;
    this.#mounted = parts.mounted;
    this.#completions = parts.completions;
    this.#tier = parts.tier;
    this.#hot = parts.hot;
    this.#deployments = parts.deployments;
    this.#observability = parts.observability;
  }

  /**
   * @param device /dev/fuse as the holder keeps it; without it there are no composed mounts
   * @throws ThinError `busy` if another daemon has this root; `denied`, `no-space`
   */
  static async open(
    config: NodeConfig,
    version: string,
    device: HeldDevice | undefined,
  ): Promise<Daemon> {
    const log = openLog(config.logLevel);
    const { root, runFolder, cacheSize, freeSpaceFloor, tiers } = config;
    const owned = new Ownership();
    const stop = new StopSwitch();
    const partialEnds = new PartialFileEnds();
    const refresh = new RefreshOnWrong();
    try {
      const reads = { deadlineMs: config.readDeadlineMs, onFailure: failedReadLog(log) };
      const limits = { quotaBytes: cacheSize, freeSpaceFloorBytes: freeSpaceFloor };
      const { onPartialEnd } = partialEnds;
      const events = {
        ...{ onPartialEnd, onWrong: refresh.onWrong, onMountedEvicted: refresh.refresh },
      };
      const shared = await openShared(config, owned, log);
      const cache = owned.use(
        await FileCache.open({ root, tiers, shared, log, reads, ...limits, ...events }),
      );
      makeRunFolder(runFolder);
      const images = await ImageFolder.open(root, (error) => {
        log.warn({ reason: describeError(error) }, 'an image folder is left out');
      });
      const arrivals = owned.use(await ImageArrivals.open({ cache, images, log }));
      const stores = owned.use(new Stores(outageLog(log)));
      const { released: onRelease } = owned.use(new IdleMemory());
      const bandwidth =
        config.bandwidth === undefined ? undefined : new Bandwidth(config.bandwidth, systemClock);
      const site = await openSite(config, owned, log, shared);
      const ahead = owned.use(new PacksAhead(bandwidth));
      const live = new LiveImages({
        ...{ images, cache, stores, bandwidth, onRelease, site, ahead, arrivals },
        readsAhead: config.prefetch !== 'none',
      });
      const deployments = owned.use(new Deployments({ images, live }));
      const hot = owned.use(
        new HotStarts(root, config.prefetch, log, {
          ...{ ahead, shared: site && new SharedStarts(site.words) },
          onReady: (id) => deployments.ready(id),
        }),
      );
      const mounted = owned.use(
        await NodeMounts.open({
          ...{ root, runFolder, cache, images, live, device, log, partialEnds, hot },
          onMiss: hot.missed.bind(hot),
          onBroken: (error, renew) => {
            log.error({ reason: describeError(error) }, 'the daemon has to start again');
            stop.restart(renew);
          },
        }),
      );
      refresh.of(mounted.roots);
      const inUse = () => mounted.inUse();
      site?.begin(() => [...inUse()]);
      const completions = owned.use(
        new Completions({
          ...{ images, live, log, mode: config.complete, roots: mounted.roots, mounted: inUse },
        }),
      );
      const tier = owned.use(
        await HotTier.open({
          ...{ root, cache, images, live, hot: hot.folder, mounted: inUse, log },
          quotaBytes: tiers[0]?.quotaBytes ?? cacheSize,
          starting: () => hot.starting,
          onMoved: () => mounted.roots.refreshAll(),
        }),
      );
      const pulls = owned.use(
        new FullPulls({ root, cache, images, site, arrivals, roots: mounted.roots, log }),
      );
      const whole = owned.use(new WholeImages({ images, stores, pulls, arrivals, log }));
      await whole.resume((manifest) => mounted.mayUse(manifest));
      const opener = new ImageOpener({ images, stores, whole, live, hot: hot.folder, site });
      const observability = owned.use(
        await Observability.open(
          {
            ...{ cache, images, live, stores, site, shared },
            mounts: () => mounted.list(),
            portableReason: () => mounted.composer.unavailable,
            completion: (manifest) => completions.status(manifest),
            ...{ version, deployments: () => deployments.list() },
          },
          config.metrics,
          log,
        ),
      );
      const parts = {
        ...{ cache, images, live, opener, mounted, completions, tier, deployments, observability },
        hot,
      };
      const daemon = new Daemon(config, version, owned, stop, parts);
      const pages = { readFile: daemon.#readFile.bind(daemon), ...observability.pages };
      const handlers = loggedHandlers(daemon.#handlers(), log);
      owned.use(await ControlServer.open(config.socket, handlers, pages, log, stop));
      log.info({ root, pid: process.pid, version }, 'ready');
      owned.use({
        [Symbol.asyncDispose]: async () => {
          log.info('stopping');
          mounted.containers.stopWatching();
        },
      });
      return daemon;
    } catch (error) {
      await owned[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** @throws ThinError `busy` if mounts would end that cannot go on without us, unless `force` */
  requestStop({ force, unmount, again }: ServerStop): void {
    const { mounts, containers, bound } = this.#mounted;
    const ending = unmount ? mounts.list().length + containers.running : bound;
    if (ending > 0 && !force) {
      throw new ThinError(
        'busy',
        `Cannot stop the daemon: ${ending} mounts would end (thin unmount them, or --force)`,
      );
    }
    if (unmount) this.#mounted.endAll();
    this.#stop.stop(again);
  }

  /**
   * Resolves when {@link requestStop} or `signal` says so, or F has ended.
   * @returns whether this process is to be started again, and with another /dev/fuse
   */
  async stopped(signal: AbortSignal): Promise<{ restart: boolean; renew: boolean }> {
    signal.addEventListener('abort', () => this.#stop.stop(), { once: true });
    if (signal.aborted) this.#stop.stop();
    return await this.#stop.thrown;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]();
  }

  #handlers(): ControlHandlers {
    return {
      'image.open': async (request, context) =>
        imageSummary(this.#images, await openImage(this.#openParts(), request, context)),
      'image.pull': async ({ mode, ...request }, context) =>
        imageSummary(this.#images, await openImage(this.#openParts(), request, context, mode)),
      mount: async (request, context) => {
        using hold = this.#mounted.holds.hold();
        return await this.#mounted.mounts.mount(await this.#bring(request, context, hold), request);
      },
      unmount: ({ target, force }) => this.#mounted.mounts.unmount(target, force),
      'container.create': (request, context) => this.#createContainer(request, context),
      'container.attach': async ({ id }, context) => {
        context.hold(this.#mounted.containers.attach(id));
        return null;
      },
      'container.ready': async ({ id }) => this.#mounted.containers.ready(id),
      'container.end': async ({ id, exitCode }) => {
        this.#deployments.ended(id);
        await this.#mounted.containers.end(id, exitCode);
        return null;
      },
      'container.remove': async ({ id }) => {
        await this.#mounted.remove(id);
        return null;
      },
      status: () => this.#status(),
      pop: async () => this.#observability.view.site,
      sharedTier: async () => this.#observability.view.sharedTier,
      why: ({ name }) => this.#observability.view.why(name),
      activity: () => this.#observability.view.activity(),
      ...tierHandlers(this.#tier),
      pause: async ({ paused }) => {
        this.#completions.pause(paused);
        return null;
      },
      gc: ({ all }) => this.#collectGarbage(all),
      check: async (_, { signal, progress }) => {
        const found = await this.#cache.verify(signal, (bytes) => progress('check', bytes, 0));
        if (found.wrong.length > 0) await this.#mounted.roots.refreshAll();
        return found;
      },
    };
  }

  #bring(
    request: CheckedRequest<'mount' | 'container.create'>,
    context: OpenContext,
    hold: ImageHold,
  ): Promise<LiveImage> {
    return bringImage({ ...this.#openParts(), mounted: this.#mounted }, request, context, hold);
  }

  #openParts() {
    return { opener: this.#opener, live: this.#live, images: this.#images };
  }

  async #createContainer(request: CheckedRequest<'container.create'>, context: CallContext) {
    using hold = this.#mounted.holds.hold();
    const onHotPacks = this.#hot.foresee.bind(this.#hot, request);
    const start = await this.#deployments.start(
      request.reference,
      () => this.#bring(request, { ...context, onHotPacks }, hold),
      async (image) => {
        const made = await this.#mounted.containers.create(image, request, context.signal);
        void this.#tier.started(image.manifest);
        return made;
      },
    );
    context.hold(this.#mounted.containers.attach(start.id));
    return start;
  }

  async #readFile(manifest: string, path: string, signal: AbortSignal) {
    return (await this.#live.get(parseDigest(manifest))).openPath(path, signal);
  }

  #collectGarbage(all: boolean) {
    const parts = { cache: this.#cache, images: this.#images, live: this.#live };
    return collectGarbage({ ...parts, mounted: this.#mounted }, all);
  }

  async #status(): Promise<NodeStatus> {
    const usage = await this.#cache.usage();
    await this.#mounted.mounts.forgetGone();
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
        ...imageSummary(this.#images, record),
        fetched: this.#live.fetched(parseDigest(record.manifest)),
        completion: this.#completions.status(parseDigest(record.manifest)),
        firstStart: this.#hot.firstStart(parseDigest(record.manifest)),
      })),
      mounts: this.#mounted.list(),
      left: this.#mounted.left,
      waiting: await this.#observability.view.waiting(),
    };
  }
}
