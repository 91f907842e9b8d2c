import { join } from 'node:path';
import type { FileRef } from '../cache/file-origin.js';
import type { PartialView } from '../cache/partial-view.js';
import type { Digest } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import { askStatistics } from './ask-statistics.js';
import { ConnectionControl } from './connection.js';
import { requestResend } from './device.js';
import type { SharedFileList } from './file-list.js';
import {
  detachPath,
  mountDevice,
  mountType,
  resolveMountPoint,
  unmountPath,
} from './kernel-mount.js';
import { findMount } from './mount-table.js';
import { ObjectImages } from './object-images.js';
import type { ObjectThread } from './object-thread.js';
import { ObjectThreads } from './object-threads.js';
import type { ObjectWorkerReport } from './object-worker-messages.js';
import { readAheadMax, setReadAhead } from './read-ahead.js';
import { type OnReadError, ReadForwarder } from './read-forwarder.js';
import { settlesWithin } from './settles-within.js';

/**
 * Fetches bytes of an image's file that is not complete on this machine, from that image's own sources:
 * another's may say something else of the same content.
 * @returns exactly `length` bytes, verified
 * @throws ThinError
 */
export type ReadObject = (
  image: Digest,
  file: FileRef,
  offset: number,
  length: number,
  signal: AbortSignal,
) => Promise<Buffer>;

export interface ObjectServerOptions {
  /** Descriptor of /dev/fuse, mounted already or not. Stays the caller's. */
  readonly device: number;
  /** Absolute path, without symlinks, of an existing directory. */
  readonly mountPoint: string;
  /** Directories with complete files as `xx/<digest>`, the fastest first. */
  readonly tiers: readonly string[];
  /** What must be known before the first request is answered: at a takeover, all that is mounted. */
  readonly images?: ObjectImages;
  readonly readFile: ReadObject;
  /** The partial file from which threads may read, if there is one; asked for when a read comes. */
  readonly partialView?: (image: Digest, file: FileRef) => PartialView | undefined;
  /** Told in batches which files were used for the first time. */
  readonly onFirstUse: (contents: readonly Digest[]) => void;
  /** Told of every read that a program saw fail. */
  readonly onReadError: OnReadError;
}

/** What became of requests that an earlier server had not answered. */
export type Takeover =
  /** There was no earlier one. */
  | 'not-needed'
  /** They were asked for again. */
  | 'done'
  /** Before Linux 6.9: whoever made them waits until it is killed. All others go on. */
  | 'not-supported';

/** Milliseconds in which a connection that is alive shows that it is. */
const takeoverMs = 10_000;
/** Milliseconds in which a report of a thread arrives. */
const reportMs = 1_000;
/** Milliseconds in which threads start, and end if there is nothing to serve. */
const silentMs = 5_000;
/** Milliseconds that reads get to be answered where no successor would be asked for them. */
const drainMs = 10_000;
/** Milliseconds in which the threads notice that the mount is gone, if it is. */
const goneMs = 500;

const endedConnection = new Error('the connection has ended');

/** True for the error of {@link ObjectServer.open} that another descriptor would not have. */
export function isConnectionEnded(error: unknown): boolean {
  return isThinError(error) && error.cause === endedConnection;
}

/**
 * F: one mount that shows the files of all images by content, `<mount point>/<list>/xx/<digest>`, for
 * overlays to find what is in no tier. It outlives the process that serves it: as long as somebody
 * holds the descriptor, the next one takes over where this one stopped.
 */
export class ObjectServer implements AsyncDisposable {
  readonly mountPoint: string;
  readonly resend: Takeover;
  /**
   * False if the mount was taken away from its place although overlays use it. Those are served;
   * new ones cannot be made.
   */
  readonly attached: boolean;
  /** Resolves when nothing is served any more; with an error if a thread broke: end the process. */
  readonly ended: Promise<Error | undefined>;
  readonly #parts: Parts;
  #closing: Promise<void> | undefined;

  /**
   * Mounts F, or takes over the mount of the descriptor.
   * @throws ThinError `denied`, `not-found`, `invalid`; `unavailable` if the kernel is too old, or,
   *   told by {@link isConnectionEnded}, if the mount of the descriptor is gone
   */
  static async open(options: ObjectServerOptions): Promise<ObjectServer> {
    const answer = requestResend(options.device);
    if (answer !== 'not-mounted') return takeOver(options, answer);
    return mountNew(options);
  }

  constructor(parts: Parts) {
    this.#parts = parts;
    this.mountPoint = parts.mountPoint;
    this.resend = parts.takeover;
    this.attached = parts.attached;
    this.ended = parts.threads.ended.finally(() => parts.control?.[Symbol.dispose]());
  }

  /**
   * Shows an image's files, or counts one more use. When it returns, every thread knows them.
   * @returns directory that is the image's data layer; the same for the same image and files always
   * @throws ThinError as {@link ObjectImages.add}: such an image must be mounted otherwise
   */
  addFiles(list: SharedFileList): string {
    return join(this.mountPoint, this.#parts.images.add(list));
  }

  /** Takes back one {@link addFiles}, when no overlay has the directory as a layer any more. */
  removeFiles(image: Digest): void {
    this.#parts.images.remove(image);
  }

  /** Has the kernel read so many bytes ahead in files that are opened from now on. */
  readAhead(bytes: number): void {
    const { device } = this.#parts;
    if (device !== undefined) setReadAhead(device, bytes);
  }

  /** Has the threads close a partial file that was promoted, or goes. */
  endPartial(view: PartialView): void {
    this.#parts.threads.endPartial(view);
  }

  /** Files of the tiers are opened again when they are read next: one may be gone, or wrong. */
  closeFiles(): void {
    this.#parts.threads.post({ type: 'close-files' });
  }

  /**
   * Stops serving; the mount stays, and the descriptor. What was not answered the successor is asked
   * for, where the kernel can do that; else it is waited for.
   * @throws ThinError `unavailable` if the threads cannot be ended but with the process
   */
  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  /**
   * Ends F, and this server with it. Whatever still uses it gets errors.
   * @throws ThinError `busy` if something uses the mount itself; it goes on then.
   */
  async unmount(): Promise<void> {
    const { threads, forwarder, mountPoint, control } = this.#parts;
    await unmountPath(mountPoint);
    // An overlay, or another mount namespace, keeps the connection alive.
    if (!(await settlesWithin(threads.ended, goneMs))) control?.abort();
    await threads.ended;
    await forwarder.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #stop(): Promise<void> {
    const { threads, forwarder, canResend, images } = this.#parts;
    images.publishTo(() => {});
    await threads.stop();
    if (canResend) return forwarder.abandon();
    await settlesWithin(forwarder.idle(), drainMs);
    await forwarder.close();
  }
}

interface Serving {
  readonly mountPoint: string;
  readonly images: ObjectImages;
  readonly threads: ObjectThreads;
  readonly forwarder: ReadForwarder;
  /** Whether a successor can have requests sent again. */
  readonly canResend: boolean;
}

interface Parts extends Serving {
  /** `major:minor` of the mount. This and the next are undefined if it is not attached. */
  readonly device: string | undefined;
  readonly control: ConnectionControl | undefined;
  readonly takeover: Takeover;
  readonly attached: boolean;
}

async function mountNew(options: ObjectServerOptions): Promise<ObjectServer> {
  await detachStale(options.mountPoint);
  const mountPoint = await resolveMountPoint(options.mountPoint);
  await mountDevice(options.device, { mountPoint, allowOther: false, setuid: false });
  const canResend = requestResend(options.device) === 'done';
  const serving = startServing({ ...options, mountPoint }, canResend);
  try {
    const accepted = await Promise.race([
      serving.threads.initialized,
      serving.threads.ended.then(() => 'ended' as const),
    ]);
    if (accepted === 'ended') throw ended(mountPoint);
    if (!accepted) throw tooOld(mountPoint);
    const device = (await findMount(mountPoint))?.device;
    if (device === undefined) throw ended(mountPoint);
    setReadAhead(device, readAheadMax);
    const control = await ConnectionControl.open(device);
    return new ObjectServer({
      ...{ ...serving, device, control },
      ...{ takeover: 'not-needed', attached: true },
    });
  } catch (error) {
    await detachPath(mountPoint);
    await serving.threads.ended;
    throw error;
  }
}

/** Mounts of earlier connections, which may be dead: nothing below them must be touched. */
async function detachStale(mountPoint: string): Promise<void> {
  while ((await findMount(mountPoint))?.type === mountType) await detachPath(mountPoint);
}

async function takeOver(
  options: ObjectServerOptions,
  takeover: 'done' | 'not-supported',
): Promise<ObjectServer> {
  const { mountPoint } = options;
  const serving = startServing(options, takeover === 'done');
  const { threads } = serving;
  const giveUp = new AbortController();
  const answered = askStatistics(mountPoint, giveUp.signal);
  const settled = Promise.race([answered, threads.ended]);
  if (!(await settlesWithin(settled, takeoverMs))) giveUp.abort();
  const attached = (await answered) && (await settlesWithin(threads.connected, reportMs));
  if (await settlesWithin(threads.ended, attached ? 0 : silentMs)) {
    throw (await threads.ended) ?? ended(mountPoint);
  }
  const device = attached ? (await findMount(mountPoint))?.device : undefined;
  if (device !== undefined) setReadAhead(device, readAheadMax);
  const control = device === undefined ? undefined : await ConnectionControl.open(device);
  return new ObjectServer({ ...serving, device, control, takeover, attached });
}

function startServing(options: ObjectServerOptions, canResend: boolean): Serving {
  const { device, mountPoint, tiers, readFile, onReadError, images = new ObjectImages() } = options;
  const forwarder = new ReadForwarder(
    device,
    async ({ image, content, size, offset, length }, signal) => {
      if (image === undefined) throw new ThinError('invalid', `Cannot read ${content}: no image`);
      return readFile(image, { content, size }, offset, length, signal);
    },
    onReadError,
  );
  const hear = (report: ObjectWorkerReport, thread: ObjectThread): void => {
    if (report.type === 'interrupt') forwarder.interrupt(report.unique);
    else if (report.type === 'used') options.onFirstUse(report.contents);
    else if (report.type === 'read') {
      forwarder.forward(report.read);
      const { image, content, size, node } = report.read;
      const view = image && options.partialView?.(image, { content, size });
      if (view) thread.tellPartial(node, view);
    }
  };
  const threads = new ObjectThreads({
    device,
    mountPoint,
    tiers,
    images: () => images.lists,
    hear,
  });
  images.publishTo((update) => threads.post(update));
  return { mountPoint, images, threads, forwarder, canResend };
}

function ended(mountPoint: string): ThinError {
  return new ThinError('unavailable', `Cannot serve ${mountPoint}: its connection has ended`, {
    cause: endedConnection,
  });
}

function tooOld(mountPoint: string): ThinError {
  return new ThinError(
    'unavailable',
    `Cannot serve ${mountPoint}: this kernel has an older FUSE protocol (wanted Linux 5.1)`,
  );
}
