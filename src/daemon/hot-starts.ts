import type { Logger } from 'pino';
import type { FileRef } from '../cache/file-origin.js';
import type { PrefetchTotals } from '../cache/range-prefetch.js';
import type { PrefetchMode } from '../config.js';
import type { Digest } from '../digest.js';
import { isThinError } from '../errors.js';
import type { CommandStart } from '../hot/command-files.js';
import { HotFolder } from '../hot/hot-folder.js';
import { type ImageConfig, parseImageConfig } from '../image/image-config.js';
import { commandLine } from '../mount/container-process.js';
import { systemClock } from '../store/clock.js';
import type { PacksAhead } from '../store/packs-ahead.js';
import type { Store } from '../store/store.js';
import { type CommandPack, commandFor } from '../thin/hot-index.js';
import type { OriginalImage } from '../thin/original-image.js';
import type { CheckedRequest, FirstStart } from './control-api.js';
import { HotStart } from './hot-start.js';
import type { LiveImage } from './live-image.js';
import { checkReadySign, type WatchedContainer } from './readiness.js';
import { ReadyWatch } from './ready-watch.js';
import type { SharedStarts } from './shared-starts.js';

/** Of one image: starts for which all was here, and whose next ones need no look. */
const warmStartsMax = 64;
/** Images of which it is remembered what their first start needed. */
const firstsMax = 1000;

type StartRequest = Pick<
  CheckedRequest<'container.create'>,
  'command' | 'entrypoint' | 'env' | 'workdir' | 'ready'
>;

/** Who else has to do with starts. */
export interface StartEvents {
  /** What other nodes have seen; undefined where there is no site. */
  readonly shared: SharedStarts | undefined;
  /** Where hot packs are asked for while their images are being opened. */
  readonly ahead: PacksAhead;
  /** Told of containers whose program has started, where something tells. */
  readonly onReady: (id: string) => void;
}

/** The containers that are starting. Nothing waits for what is done here. */
export class HotStarts implements AsyncDisposable {
  readonly #mode: PrefetchMode;
  readonly folder: HotFolder;
  readonly #log: Logger;
  readonly #shared: SharedStarts | undefined;
  readonly #ahead: PacksAhead;
  /** By container. */
  readonly #starts = new Map<string, HotStart>();
  readonly #watches = new Map<string, ReadyWatch>();
  readonly #work = new Set<Promise<void>>();
  readonly #onReady: (id: string) => void;
  #onStarting: (isStarting: boolean) => void = () => {};
  /** By image, of its first start since the daemon began. */
  readonly #firsts = new Map<Digest, FirstStart>();
  /** Forgotten with the image, which is when nobody has asked for it for a while. */
  readonly #warm = new WeakMap<LiveImage, Set<string>>();

  /** @param root of the node's state */
  constructor(root: string, mode: PrefetchMode, log: Logger, events: StartEvents) {
    this.#mode = mode;
    this.#shared = events.shared;
    this.#ahead = events.ahead;
    this.folder = new HotFolder(root);
    this.#log = log;
    this.#onReady = events.onReady;
  }

  /**
   * Returns at once; goes on until the program has started, or {@link end}.
   * @throws ThinError `invalid` for a sign of having started that the image cannot give
   */
  begin(container: WatchedContainer, image: LiveImage, request: StartRequest): void {
    checkReadySign(request.ready, image.config);
    const { id } = container.key;
    const watch = this.#watches.get(id) ?? new ReadyWatch(request.ready, container);
    this.#watches.set(id, watch);
    void watch.ready.then(() => this.#onReady(id));
    if (image.record.kind !== 'thin' || this.#starts.has(id)) return;
    const start = commandStart(image.config, request);
    const warm = this.#warm.get(image) ?? new Set();
    this.#warm.set(image, warm);
    const key = JSON.stringify(start);
    if (!start || warm.has(key)) return;
    const [mode, folder, log, shared] = [this.#mode, this.folder, this.#log, this.#shared];
    const hot = new HotStart({
      ...{ id, image, start, mode, folder, log, shared },
      clock: systemClock,
      untilReady: () => watch.ready,
      onBrought: (totals) => this.#brought(image.manifest, totals),
    });
    this.#starts.set(id, hot);
    if (this.#starts.size === 1) this.#onStarting(true);
    const work = hot.done.then((isWarm) => {
      this.#work.delete(work);
      if (this.#starts.get(id) === hot) this.#forget(id);
      if (isWarm && warm.size < warmStartsMax) warm.add(key);
    });
    this.#work.add(work);
  }

  /**
   * What was published of a start is asked for at once, before its image is here. The nodes of a site
   * do not: they would each ask for what one of them is to bring.
   */
  foresee(
    request: StartRequest,
    image: OriginalImage,
    packs: readonly CommandPack[],
    store: Store,
  ): void {
    if (this.#mode === 'none' || this.#shared) return;
    const start = commandStart(parseImageConfig(Buffer.from(image.config.text)), request);
    const command = start && commandFor(packs, start.args);
    if (command) this.#ahead.begin(image.manifest.digest, store, command.pack);
  }

  /** What the first start of an image since the daemon began needed; undefined if there was none. */
  firstStart(image: Digest): FirstStart | undefined {
    return this.#firsts.get(image);
  }

  #brought(image: Digest, totals: PrefetchTotals): void {
    if (this.#firsts.has(image) || this.#firsts.size >= firstsMax) return;
    const hereBytes = totals.hereBytes + totals.copiedBytes;
    const neededBytes = hereBytes + totals.plainBytes;
    if (neededBytes > 0) this.#firsts.set(image, { neededBytes, hereBytes });
  }

  /** Has `onStarting` called when the first of some starts begins, and when the last of them is over. */
  tellStarting(onStarting: (isStarting: boolean) => void): void {
    this.#onStarting = onStarting;
  }

  /** Whether any container has not started yet. */
  get starting(): boolean {
    return this.#starts.size > 0;
  }

  /** A program reads what is not here. @param bytes settles when it has them, or an error */
  missed(
    image: Digest,
    file: FileRef,
    offset: number,
    length: number,
    bytes: Promise<unknown>,
  ): void {
    for (const start of this.#starts.values()) {
      if (start.image.manifest === image) start.missed(file, offset, length, bytes);
    }
  }

  /** The program has said so. */
  ready(id: string): void {
    this.#watches.get(id)?.tell();
    this.#starts.get(id)?.ready();
  }

  /** The container has ended, or was never made. */
  end(id: string): void {
    this.#watches.get(id)?.end();
    this.#watches.delete(id);
    this.#starts.get(id)?.end();
    this.#forget(id);
  }

  #forget(id: string): void {
    if (this.#starts.delete(id) && this.#starts.size === 0) this.#onStarting(false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const id of this.#watches.keys()) this.end(id);
    await Promise.all(this.#work);
  }
}

/** Undefined where there is no command, which whoever makes the container is told. */
function commandStart({ config }: ImageConfig, request: StartRequest): CommandStart | undefined {
  const image = config ?? {};
  try {
    return {
      args: commandLine(image, request),
      env: [...(image.Env ?? []), ...request.env],
      workdir: request.workdir || image.WorkingDir || '/',
    };
  } catch (error) {
    if (isThinError(error, 'invalid')) return undefined;
    throw error;
  }
}
