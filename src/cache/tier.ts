import type { FileSpan, FileStorePlace, StoredFile } from '../../native-bindings/file-store.js';
import type { Digest } from '../digest.js';
import { CompleteFile } from './complete-file.js';
import { createNew, type Disk, errnoName } from './disk.js';
import { type TierLayout, tierPath } from './layout.js';

/** One directory of complete files, and the disk that it is on. */
export class Tier {
  readonly name: string;
  readonly directory: string;
  readonly disk: Disk;
  readonly #layout: TierLayout;
  /** Of this tier alone: another one's disk may hang. */
  readonly #place: FileStorePlace;
  #counter = 0;

  constructor(disk: Disk, layout: TierLayout) {
    this.name = layout.name;
    this.directory = layout.directory;
    this.disk = disk;
    this.#layout = layout;
    this.#place = { directory: layout.directory, incoming: layout.incoming, others: [] };
  }

  /** To be called while the cache is opened. @see Disk.openPlace */
  openPlace(): void {
    this.disk.openPlace(this.#place);
  }

  /** For files on their way, on the same file system; emptied when the cache is opened. */
  get incoming(): string {
    return this.#layout.incoming;
  }

  path(content: Digest): string {
    return tierPath(this.directory, content);
  }

  exists(content: Digest): Promise<boolean> {
    return this.disk.exists(this.path(content));
  }

  /** Those of some contents that are not here, by one call. */
  missing(contents: readonly Digest[]): Promise<readonly Digest[]> {
    return this.disk.missing(this.#place, contents);
  }

  /** Keeps files that are whole in `bytes`, by one call, unless they are here. */
  storeAll(bytes: Buffer, files: readonly FileSpan[]): Promise<readonly StoredFile[]> {
    return this.disk.storeAll(this.#place, bytes, files);
  }

  /** Undefined if the file is not here. @param verified whether its bytes are known to be right */
  open(content: Digest, verified: boolean): Promise<CompleteFile | undefined> {
    return this.#openAt(this.path(content), content, verified);
  }

  /** The file as it was set aside; undefined if none was. */
  openSuspect(content: Digest): Promise<CompleteFile | undefined> {
    return this.#openAt(tierPath(this.#layout.suspect, content), content, false);
  }

  async #openAt(
    path: string,
    content: Digest,
    verified: boolean,
  ): Promise<CompleteFile | undefined> {
    try {
      return await CompleteFile.open(this.disk, path, content, verified);
    } catch (error) {
      if (errnoName(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Gives a file that was set aside its name back. */
  restore(content: Digest): Promise<void> {
    return this.disk.rename(tierPath(this.#layout.suspect, content), this.path(content));
  }

  removeSuspect(content: Digest): Promise<void> {
    return this.#unlink(tierPath(this.#layout.suspect, content));
  }

  /** A path for a file on its way, never used before. */
  incomingPath(): string {
    return `${this.#layout.incoming}/${process.pid}-${this.#counter++}`;
  }

  /** Gives the file at `path`, verified to be `content`, its final name. */
  adopt(path: string, content: Digest): Promise<void> {
    return this.disk.rename(path, this.path(content));
  }

  /**
   * Makes a file of what `fill` writes. It gets its name by rename, whole, and no file here is ever
   * changed; what is not synced yet is verified after an unclean stop.
   * @param fill false: the file is not to be
   */
  async create(content: Digest, fill: (fd: number) => Promise<boolean>): Promise<boolean> {
    const incoming = this.incomingPath();
    const fd = await this.disk.open(incoming, createNew);
    let placed = false;
    try {
      let good: boolean;
      try {
        good = await fill(fd);
      } finally {
        await this.disk.close(fd);
      }
      if (good) await this.adopt(incoming, content);
      placed = good;
    } finally {
      if (!placed) await this.#unlink(incoming).catch(() => undefined);
    }
    return placed;
  }

  async remove(content: Digest): Promise<void> {
    await this.#unlink(this.path(content));
  }

  async #unlink(path: string): Promise<void> {
    try {
      await this.disk.unlink(path);
    } catch (error) {
      if (errnoName(error) !== 'ENOENT') throw error;
    }
  }
}
