import { isThinError, ThinError } from '../errors.js';
import type { FileRef, ListedFiles } from './file-origin.js';
import type { MountLease } from './index-images.js';
import type { CacheIndex } from './index-thread.js';
import { packColumns, packInBatches } from './packed-files.js';
import { processStart } from './process-start.js';

/** Files in one transaction of the index: 0.1 s of its time, see index-feed.ts. */
const batchFiles = 10_000;

/**
 * A mount on record. `alive`: this process made it. Others that did are dead or dying, whatever
 * /proc still says of them, since the root's lock is ours.
 */
export interface OwnedLease extends MountLease {
  readonly alive: boolean;
}

/** Which images are known here, mounted or pinned: what eviction goes by. */
export class CachedImages implements AsyncDisposable {
  readonly #index: CacheIndex;
  readonly #makeDurable: () => Promise<boolean>;
  readonly #failed: (error: unknown) => void;
  readonly #start: number;

  #listing: Promise<void> = Promise.resolve();
  #closing: boolean;

  /**
   * @param makeDurable syncs what was placed; false if that failed
   * @param failed told why a mounted image's files could not be listed
   */
  constructor(
    index: CacheIndex,
    makeDurable: () => Promise<boolean>,
    failed: (error: unknown) => void,
  ) {
    this.#index = index;
    this.#makeDurable = makeDurable;
    this.#failed = failed;
    this.#closing = false;
    this.#start = processStart(process.pid) ?? 0;
  }

  /**
   * Leases the image for one mount of this process. Its files are listed behind that; until all are,
   * any file here may be one of them, and counts as mounted.
   */
  async mount(image: string, files: ListedFiles): Promise<void> {
    await this.#recorded(this.#index.call('lease', image, process.pid, this.#start));
    void this.#enlist(image, files).catch(this.#failed);
  }

  /** Makes the image's files known, so that garbage collection can keep them. */
  async remember(image: string, files: Iterable<FileRef>): Promise<void> {
    await this.#enlist(image, files);
  }

  /** Ends when the files of all images mounted so far are listed. */
  async listed(): Promise<void> {
    await this.#listing;
  }

  /** A list that is not done is begun again by the next mount. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    await this.#listing;
  }

  async unmount(image: string): Promise<void> {
    await this.#recorded(this.#index.call('release', image, process.pid, this.#start));
  }

  /**
   * On a full disk mounts go on without a record: their files may leave early and are fetched again,
   * or stay until the next garbage collection.
   */
  async #recorded(call: Promise<void>): Promise<void> {
    try {
      await call;
    } catch (error) {
      if (!isThinError(error, 'no-space')) throw error;
      this.#failed(error);
    }
  }

  /** @see FileCache.pinImage */
  async pin(image: string, files: ListedFiles, metadata: string): Promise<void> {
    if (!(await this.#makeDurable())) {
      throw new ThinError('unavailable', `Cannot pin image ${image}: its files cannot be synced`);
    }
    await this.#enlist(image, files);
    await this.#index.call('pinImage', image, metadata);
  }

  async unpin(image: string): Promise<void> {
    await this.#index.call('unpinImage', image);
  }

  async leases(): Promise<OwnedLease[]> {
    const leases = await this.#index.call('leases');
    const own = ({ pid, start }: MountLease) => pid === process.pid && start === this.#start;
    return leases.map((lease) => ({ ...lease, alive: own(lease) }));
  }

  async release(lease: MountLease): Promise<void> {
    await this.#index.call('releaseAll', lease);
  }

  /** One image after the other: between the pages of a list other calls get their turn. */
  #enlist(image: string, files: ListedFiles): Promise<void> {
    const list = this.#listing.then(() => this.#list(image, files));
    this.#listing = list.catch(() => undefined);
    return list;
  }

  async #list(image: string, files: ListedFiles): Promise<void> {
    if (await this.#index.call('hasMembers', image)) return;
    const columns = files.columns?.();
    const batches = columns
      ? packColumns(columns, batchFiles)
      : packInBatches(withBytes(files), batchFiles);
    for (const batch of batches) {
      if (this.#closing) return;
      await this.#index.call('addPackedMembers', image, batch);
    }
    await this.#index.call('completeMembers', image);
  }
}

/** An empty file needs no file here. */
function* withBytes(files: Iterable<FileRef>): Generator<FileRef, void> {
  for (const file of files) if (file.size > 0) yield file;
}
