import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileCache } from '../cache/file-cache.js';
import { type Digest, digestHex } from '../digest.js';
import { fromSystemError } from '../errors.js';
import { FileList, type SharedFileList } from '../fuse/file-list.js';
import type { ObjectServer } from '../fuse/object-server.js';
import { makeFolder } from '../make-folder.js';
import { mountMetadata, unmountMetadata } from '../mount/metadata-mount.js';

/** Milliseconds that an image stays ready after its last root: the next container starts faster. */
const idleMs = 5 * 60_000;

/** What makes an image ready for composed mounts. */
export interface ComposedImage {
  readonly manifest: Digest;
  /** Path of `metadata.erofs`, verified when its file list was made: a list that was kept stands for that. */
  readonly metadata: string;
  files(): Promise<SharedFileList>;
}

/** An image whose metadata is mounted and whose files F knows. */
interface ReadyImage {
  /** Where F shows its files. */
  readonly opening: Promise<string>;
  users: number;
  idle: NodeJS.Timeout | undefined;
}

/** A use of an image by one root; ends with `release`. */
export interface ComposedUse {
  /** Where the metadata is mounted. */
  readonly metadata: string;
  /** The data layer of F with the image's files. */
  readonly objects: string;
  release(): void;
}

/**
 * Images made ready for composed mounts, once for all their roots: files counted as in use, known to
 * F, metadata mounted at `<run>/metadata/<key>`.
 */
export class ComposedImages implements AsyncDisposable {
  readonly #folder: string;
  readonly #cache: FileCache;
  readonly #objects: ObjectServer;
  readonly #ready = new Map<Digest, ReadyImage>();
  /** Images on their way out: their mount point must be empty before it is used again. */
  readonly #closing = new Map<Digest, Promise<void>>();

  constructor(runFolder: string, cache: FileCache, objects: ObjectServer) {
    this.#folder = join(runFolder, 'metadata');
    this.#cache = cache;
    this.#objects = objects;
  }

  /** Images that have roots now. */
  get used(): Digest[] {
    return [...this.#ready].flatMap(([manifest, { users }]) => (users > 0 ? [manifest] : []));
  }

  /** @throws ThinError if the kernel will not mount it */
  async use(image: ComposedImage): Promise<ComposedUse> {
    const { manifest } = image;
    let ready = this.#ready.get(manifest);
    if (!ready) {
      ready = { opening: this.#open(image), users: 0, idle: undefined };
      this.#ready.set(manifest, ready);
      ready.opening.catch(() => this.#ready.delete(manifest));
    }
    const used = ready;
    clearTimeout(used.idle);
    used.users += 1;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      used.users -= 1;
      if (used.users > 0) return;
      used.idle = setTimeout(() => {
        // An index that cannot be written keeps a lease, until the next garbage collection.
        this.#close(manifest, used).catch(() => {});
      }, idleMs).unref();
    };
    try {
      const objects = await used.opening;
      return { metadata: this.#path(manifest), objects, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  async #open(image: ComposedImage): Promise<string> {
    const { manifest } = image;
    await this.#closing.get(manifest);
    const files = await image.files();
    await this.#cache.mountImage(manifest, new FileList(files));
    try {
      return await this.#show(image, files);
    } catch (error) {
      await this.#cache.unmountImage(manifest);
      throw error;
    }
  }

  async #show({ manifest, metadata }: ComposedImage, files: SharedFileList): Promise<string> {
    const objects = this.#objects.addFiles(files);
    try {
      const mountPoint = this.#path(manifest);
      await makeFolder(mountPoint, 0o700);
      await mountMetadata({ image: metadata, mountPoint });
      return objects;
    } catch (error) {
      this.#objects.removeFiles(manifest);
      throw fromSystemError(`Cannot mount the metadata of ${manifest}`, error);
    }
  }

  /** Takes away metadata that an earlier daemon mounted and no root needs. */
  async detachOthers(): Promise<void> {
    const ours = new Set([...this.#ready.keys()].map((manifest) => this.#path(manifest)));
    const names = await readdir(this.#folder).catch(() => []);
    for (const path of names.map((name) => join(this.#folder, name))) {
      if (!ours.has(path)) await unmountMetadata(path);
    }
  }

  /** Lets go of images without roots now, so that they can be removed. */
  async closeIdle(): Promise<void> {
    for (const [manifest, ready] of this.#ready) await this.#close(manifest, ready);
  }

  async #close(manifest: Digest, ready: ReadyImage): Promise<void> {
    if (ready.users > 0 || this.#ready.get(manifest) !== ready) return;
    clearTimeout(ready.idle);
    this.#ready.delete(manifest);
    const ending = this.#end(manifest, ready).finally(() => this.#closing.delete(manifest));
    this.#closing.set(
      manifest,
      ending.catch(() => {}), // whoever closes it is told
    );
    await ending;
  }

  async #end(manifest: Digest, ready: ReadyImage): Promise<void> {
    if (!(await ready.opening.then(isOpen, isNotOpen))) return;
    await unmountMetadata(this.#path(manifest));
    this.#objects.removeFiles(manifest);
    await this.#cache.unmountImage(manifest);
  }

  #path(manifest: Digest): string {
    return join(this.#folder, digestHex(manifest).slice(0, 24));
  }

  /** Images with roots stay mounted: the kernel goes on without us. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeIdle();
    for (const { idle } of this.#ready.values()) clearTimeout(idle);
  }
}

const isOpen = (): boolean => true;
const isNotOpen = (): boolean => false;
