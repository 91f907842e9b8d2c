import { rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { FileCache } from '../cache/file-cache.js';
import type { FileRef } from '../cache/file-origin.js';
import { type Digest, digestHex } from '../digest.js';
import { describeError, fromSystemError } from '../errors.js';
import { openTree } from '../fuse/open-tree.js';
import type { TreeServer } from '../fuse/tree-server.js';
import { makeFolder } from '../make-folder.js';
import type { TreeForm } from '../metadata/erofs-image.js';
import type { LiveImage } from './live-image.js';

/** Milliseconds that a tree stays mounted after its last user: the next container starts faster. */
const idleMs = 5 * 60_000;

interface SharedTree {
  readonly opening: Promise<TreeServer>;
  users: number;
  idle: NodeJS.Timeout | undefined;
}

/** A program reads what is not here, of an image. */
export type OnMiss = (
  image: Digest,
  file: FileRef,
  offset: number,
  length: number,
  bytes: Promise<Buffer>,
) => void;

/** A use of a tree that all containers of an image share. */
export interface TreeUse {
  readonly mountPoint: string;
  readonly implementation: string;
  release(): void;
}

/** Mounts of images' trees: one for all containers of an image, and those at people's mount points. */
export class Trees implements AsyncDisposable {
  readonly #folder: string;
  readonly #cache: FileCache;
  readonly #log: Logger;
  readonly #onMiss: OnMiss;
  readonly #shared = new Map<string, SharedTree>();
  readonly #open = new Set<TreeServer>();
  /** Settled when the files of a tree count as unused again. */
  readonly #releases = new WeakMap<TreeServer, Promise<void>>();

  constructor(runFolder: string, cache: FileCache, log: Logger, onMiss: OnMiss) {
    this.#folder = join(runFolder, 'trees');
    this.#cache = cache;
    this.#log = log;
    this.#onMiss = onMiss;
  }

  /** The image's tree as a lower layer of overlays, mounted when the first one needs it. */
  async use(image: LiveImage): Promise<TreeUse> {
    const key = digestHex(image.manifest);
    let tree = this.#shared.get(key);
    if (!tree) {
      tree = { opening: this.#openShared(image, key), users: 0, idle: undefined };
      this.#shared.set(key, tree);
      const forget = (): void => void this.#shared.delete(key);
      tree.opening.then((server) => server.ended.then(forget), forget);
    }
    const shared = tree;
    clearTimeout(shared.idle);
    shared.users += 1;
    const release = (): void => {
      shared.users -= 1;
      if (shared.users > 0) return;
      const close = () => this.#close(key, shared).catch(this.#notReleased);
      shared.idle = setTimeout(() => void close(), idleMs).unref();
    };
    try {
      const { mountPoint, implementation } = await shared.opening;
      return { mountPoint, implementation, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** An index that cannot be written keeps a lease, until the next garbage collection. */
  readonly #notReleased = (error: unknown): void => {
    this.#log.warn({ reason: describeError(error) }, 'files of a tree still count as mounted');
  };

  /** Files of the tiers are opened again when they are read next: one may be gone, or wrong. */
  closeFiles(): void {
    for (const server of this.#open) server.closeFiles();
  }

  /** Unmounts shared trees that nothing uses; images without mounts can then be removed. */
  async closeIdle(): Promise<void> {
    for (const [key, tree] of this.#shared) {
      if (tree.users === 0) await this.#close(key, tree);
    }
  }

  async #close(key: string, tree: SharedTree): Promise<void> {
    if (tree.users > 0 || this.#shared.get(key) !== tree) return;
    this.#shared.delete(key);
    clearTimeout(tree.idle);
    const server = await tree.opening.catch(() => undefined);
    await server?.[Symbol.asyncDispose]();
    if (server) await this.#releases.get(server);
  }

  async #openShared(image: LiveImage, key: string): Promise<TreeServer> {
    const mountPoint = join(this.#folder, key.slice(0, 24));
    try {
      await makeFolder(mountPoint, 0o700);
    } catch (error) {
      throw fromSystemError(`Cannot make mount point ${mountPoint}`, error);
    }
    const server = await this.mount(image, mountPoint, 'overlay-lower');
    void server.ended.then(() => rmdir(mountPoint).catch(() => {}));
    return server;
  }

  /** Mounts a tree anywhere; the image's files count as in use until it ends. */
  async mount(image: LiveImage, mountPoint: string, form: TreeForm): Promise<TreeServer> {
    await this.#cache.mountImage(image.manifest, image.files());
    const released = (): Promise<void> => this.#cache.unmountImage(image.manifest);
    const asRoot = process.getuid?.() === 0;
    try {
      const server = await openTree(
        {
          mountPoint,
          metadata: image.metadata,
          form,
          tiers: this.#cache.tierDirectories,
          readFile: (content, size, offset, length, signal) => {
            const bytes = image.readFile(content, size, offset, length, signal);
            this.#onMiss(image.manifest, { content, size }, offset, length, bytes);
            return bytes;
          },
          onFirstUse: (contents) => this.#cache.touch(contents),
          // The cache tells of it, once for each file.
          onReadError: (error, content) => {
            this.#log.debug({ content, reason: describeError(error) }, 'a program saw a read fail');
          },
          allowOther: asRoot,
          setuid: asRoot && form === 'overlay-lower',
        },
        (reason) => this.#log.warn({ mountPoint, reason }, 'second-best mount'),
      );
      this.#open.add(server);
      const release = server.ended.then((error) => {
        this.#open.delete(server);
        if (error) this.#log.error({ mountPoint, reason: describeError(error) }, 'mount ended');
        return released();
      });
      this.#releases.set(server, release);
      release.catch(this.#notReleased); // whoever closes it is told
      return server;
    } catch (error) {
      await released();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const trees = [...this.#shared.values()];
    this.#shared.clear();
    for (const { opening, idle } of trees) {
      clearTimeout(idle);
      const server = await opening.catch(() => undefined);
      await server?.[Symbol.asyncDispose]();
    }
  }
}
