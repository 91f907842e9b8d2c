import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { FileCache } from '../cache/file-cache.js';
import type { PartialView, PartialViewEvents } from '../cache/partial-view.js';
import type { Digest } from '../digest.js';
import { describeError, fromSystemError, ThinError } from '../errors.js';
import type { SharedFileList } from '../fuse/file-list.js';
import { mountType } from '../fuse/kernel-mount.js';
import { findMount } from '../fuse/mount-table.js';
import { ObjectImages } from '../fuse/object-images.js';
import {
  isConnectionEnded,
  ObjectServer,
  type ObjectServerOptions,
} from '../fuse/object-server.js';
import { readAheadMax, readAheadOfStarts } from '../fuse/read-ahead.js';
import { probeComposed } from '../mount/probe-composed.js';
import { type ComposedImage, ComposedImages } from './composed-images.js';
import { ComposedRoots } from './composed-roots.js';
import type { ImageFolder } from './image-folder.js';
import type { LiveImages } from './live-images.js';
import type { OnMiss } from './trees.js';

/**
 * Milliseconds after which a self test that failed is made again for who wants a mount: memory,
 * descriptors or loop devices may have been short.
 */
const againMs = 60_000;

/** The holder's /dev/fuse, on which F is mounted, and how it is told that mounts live by it. */
export interface HeldDevice {
  readonly descriptor: number;
  needed(isNeeded: boolean): void;
}

export interface ComposerOptions {
  readonly root: string;
  readonly runFolder: string;
  readonly cache: FileCache;
  readonly images: ImageFolder;
  readonly live: LiveImages;
  /** Undefined without root, or where there is no /dev/fuse. */
  readonly device: HeldDevice | undefined;
  readonly log: Logger;
  readonly onMiss: OnMiss;
  /**
   * F ended though nobody here ended it: this process has to end, and its successor takes over;
   * with another device if `renew`.
   */
  readonly onBroken: (error: Error, renew: boolean) => void;
  /** The self test; for tests. */
  readonly probe?: typeof probeComposed;
  /** Milliseconds; for tests. */
  readonly now?: () => number;
}

interface Opened {
  readonly objects: ObjectServer;
  readonly images: ComposedImages;
  readonly roots: ComposedRoots;
}

/**
 * Partial files that F's threads read and that end. The cache tells of them before there is anybody
 * to read them, so this is made first.
 */
export class PartialFileEnds implements PartialViewEvents {
  #onEnd: (view: PartialView) => void = () => {};

  readonly onPartialEnd = (view: PartialView): void => this.#onEnd(view);

  tellEnds(onEnd: (view: PartialView) => void): void {
    this.#onEnd = onEnd;
  }
}

/**
 * What composed mounts need of this node, opened when the first one is wanted: a self test, F, and
 * the images that it shows. Where the test fails, the reason is kept for who asks in the next minute;
 * any other reason for good.
 */
export class Composer implements AsyncDisposable {
  readonly #options: ComposerOptions;
  readonly #partialEnds: PartialFileEnds;
  #opening: Promise<Opened> | undefined;
  #objects: ObjectServer | undefined;
  #reason: string | undefined;
  /** On the clock of `now`; infinite unless the last self test has failed. */
  #againAt: number = Number.POSITIVE_INFINITY;
  readonly #now: () => number;
  readonly #probe: typeof probeComposed;
  readonly #closing = new AbortController();
  /** What an earlier daemon has mounted is not known yet: F must not end. */
  #takingOver: boolean = false;
  #starting: boolean = false;

  constructor(options: ComposerOptions, partialEnds: PartialFileEnds) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#probe = options.probe ?? probeComposed;
    this.#partialEnds = partialEnds;
  }

  /** Why there are no composed mounts here; undefined while there are, or nobody has tried. */
  get unavailable(): string | undefined {
    return this.#reason;
  }

  /** Whether there is no use in trying now. */
  get isUnavailable(): boolean {
    return this.#reason !== undefined && this.#now() < this.#againAt;
  }

  /** Mount point of F, if it is served. */
  get objects(): string | undefined {
    return this.#objects?.mountPoint;
  }

  /** Files that F has open are looked for again. */
  closeFiles(): void {
    this.#objects?.closeFiles();
  }

  /** Whether an earlier daemon has mounted F, which nobody serves before we take it over. */
  async isLeft(): Promise<boolean> {
    const found = await findMount(join(this.#options.runFolder, 'objects'));
    return this.#options.device !== undefined && found?.type === mountType;
  }

  /** Opened while something else is waited for. */
  prepare(): void {
    void this.#open(new ObjectImages()).catch(() => {}); // who mounts is told
  }

  /** @throws ThinError `unavailable` if the kernel, or this process, cannot do it */
  async roots(): Promise<ComposedRoots> {
    return (await this.#open(new ObjectImages())).roots;
  }

  /**
   * Goes on serving what an earlier daemon has mounted.
   * @param images those of which there are composed roots
   * @returns undefined if those roots are lost: F's connection ended with its last holder
   */
  async takeOver(images: readonly SharedFileList[]): Promise<ComposedRoots | undefined> {
    this.#takingOver = true;
    const known = new ObjectImages();
    for (const files of images) known.add(files);
    const { objects, roots } = await this.#open(known);
    if (objects.resend === 'not-needed') {
      await this.tookOver(images);
      return undefined;
    }
    if (objects.resend === 'not-supported') {
      this.#options.log.warn('this kernel cannot repeat what the last daemon left unanswered');
    }
    return roots;
  }

  /** The roots have been found: images without any are forgotten. */
  async tookOver(images: readonly SharedFileList[]): Promise<void> {
    const opened = await this.#open(new ObjectImages());
    for (const { image } of images) opened.objects.removeFiles(image);
    await opened.images.detachOthers();
    this.#takingOver = false;
  }

  /** As composed mounts want it. */
  composed(manifest: Digest, files: () => Promise<SharedFileList>): ComposedImage {
    return { manifest, metadata: this.#options.images.path(manifest, 'metadata'), files };
  }

  /**
   * Whether programs are starting: what the kernel reads beside what they touch is little then, in files
   * that are opened from now on (read-ahead.ts).
   */
  starting(isStarting: boolean): void {
    this.#starting = isStarting;
    this.#objects?.readAhead(isStarting ? readAheadOfStarts : readAheadMax);
  }

  /** Lets go of images that have no roots. */
  async closeIdle(): Promise<void> {
    const opened = await this.#opening?.catch(() => undefined);
    await opened?.images.closeIdle();
  }

  /** Roots go on, and F with them for whoever takes over; without roots F ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await this.#opening?.catch(() => undefined);
    if (!opened) return;
    this.#closing.abort();
    // Starts end after this: another mount may have F's number then.
    this.#objects = undefined;
    await opened.images[Symbol.asyncDispose]();
    if (this.#takingOver || opened.images.used.length > 0) {
      await opened.objects.close();
      return;
    }
    await opened.objects.unmount();
    this.#options.device?.needed(false);
  }

  #open(known: ObjectImages): Promise<Opened> {
    if (this.#reason !== undefined && !this.isUnavailable) this.#opening = undefined;
    this.#opening ??= this.#tryStart(known);
    return this.#opening;
  }

  async #tryStart(known: ObjectImages): Promise<Opened> {
    this.#againAt = Number.POSITIVE_INFINITY;
    try {
      const opened = await this.#start(known);
      this.#reason = undefined;
      return opened;
    } catch (error) {
      this.#reason = describeError(error);
      this.#options.log.warn({ reason: this.#reason }, 'no composed mounts, portable ones instead');
      throw error;
    }
  }

  async #start(known: ObjectImages): Promise<Opened> {
    const { root, runFolder, cache, device, log } = this.#options;
    if (!device) {
      throw new ThinError('unavailable', 'Cannot compose mounts: /dev/fuse cannot be had by root');
    }
    let probe = await this.#probe(join(root, 'probe'));
    // Mounts go on over a full disk: they are not to be taken for what nothing can bring back.
    if (!probe.available && probe.full) probe = await this.#probe(join(runFolder, 'probe'));
    if (!probe.available) {
      this.#againAt = this.#now() + againMs;
      throw new ThinError('unavailable', probe.reason);
    }
    const objects = await this.#serveObjects(device, known);
    const images = new ComposedImages(runFolder, cache, objects);
    const server = `erofs ${probe.metadataForm}`;
    log.info({ metadata: probe.metadataForm, takeover: objects.resend }, 'composed mounts');
    return {
      objects,
      images,
      roots: new ComposedRoots(images, () => cache.mountedDirectories, server),
    };
  }

  async #serveObjects(device: HeldDevice, images: ObjectImages): Promise<ObjectServer> {
    const { runFolder, cache, live, log, onBroken, onMiss } = this.#options;
    const mountPoint = join(runFolder, 'objects');
    await makeMountPoint(mountPoint);
    device.needed(true);
    const objects = await this.#openObjects({
      device: device.descriptor,
      mountPoint,
      tiers: cache.tierDirectories,
      images,
      readFile: (image, { content, size }, offset, length, signal) => {
        const opened = live.get(image);
        const bytes = opened.then((one) => one.readFile(content, size, offset, length, signal));
        onMiss(image, { content, size }, offset, length, bytes);
        return bytes;
      },
      partialView: (image, file) => live.peek(image)?.partialView(file),
      onFirstUse: (contents) => cache.touch(contents),
      // The cache tells of it, once for each file.
      onReadError: (error, content) => {
        log.debug({ content, reason: describeError(error) }, 'a program saw a read fail');
      },
    });
    this.#objects = objects;
    this.starting(this.#starting);
    this.#partialEnds.tellEnds((view) => objects.endPartial(view));
    void objects.ended.then((error) => {
      if (!this.#closing.signal.aborted)
        onBroken(error ?? outsideEnd(mountPoint), error === undefined);
    });
    return objects;
  }

  async #openObjects(options: ObjectServerOptions): Promise<ObjectServer> {
    try {
      return await ObjectServer.open(options);
    } catch (error) {
      if (!isConnectionEnded(error)) throw error;
      const ended = outsideEnd(options.mountPoint);
      this.#options.onBroken(ended, true);
      throw ended;
    }
  }
}

/** A mount point that is one already must not be touched: nobody would answer before we serve it. */
async function makeMountPoint(path: string): Promise<void> {
  if (await findMount(path)) return;
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw fromSystemError(`Cannot make mount point ${path}`, error);
  }
}

/** Somebody unmounted or aborted F. `busy`, so that nobody falls back on us, who are about to end. */
function outsideEnd(mountPoint: string): ThinError {
  return new ThinError(
    'busy',
    `Cannot compose mounts: ${mountPoint} was unmounted; the daemon starts again (try again)`,
  );
}
