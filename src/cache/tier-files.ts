import { LRUCache } from 'lru-cache';
import type { Digest } from '../digest.js';
import { CompleteFile } from './complete-file.js';
import { createNew, type Disk, errnoName } from './disk.js';
import type { FileRef } from './file-origin.js';
import { type CacheLayout, tierPath } from './layout.js';

/** Complete files held open; the default limit of a process is 1024 descriptors, soft. */
const openFilesMax = 512;
/** Contents remembered as verified since the cache was opened; a forgotten one is verified again. */
const verifiedMax = 200_000;

/** The complete files of the local tier. */
export class TierFiles {
  readonly #disk: Disk;
  readonly #layout: CacheLayout;
  readonly #open = new LRUCache<Digest, CompleteFile>({
    max: openFilesMax,
    dispose: (file, content) => {
      if (file.verified) this.#verified.set(content, true);
      void file.close();
    },
  });
  readonly #verified = new LRUCache<Digest, true>({ max: verifiedMax });
  readonly #onSettled: (file: FileRef) => void;
  readonly #settling = new Map<Digest, Promise<CompleteFile | undefined>>();
  #suspects: boolean;
  #counter = 0;

  /**
   * @param suspects whether `suspect/` may hold files that were not looked at yet
   * @param onSettled told each of them that is good and has its name back
   */
  constructor(
    disk: Disk,
    layout: CacheLayout,
    suspects: boolean,
    onSettled: (file: FileRef) => void,
  ) {
    this.#disk = disk;
    this.#layout = layout;
    this.#suspects = suspects;
    this.#onSettled = onSettled;
  }

  path(content: Digest): string {
    return tierPath(this.#layout.tier, content);
  }

  /** The file if it is open already; costs no call. */
  opened(content: Digest): CompleteFile | undefined {
    return this.#open.get(content);
  }

  /** True where reads of the file were going on at this moment. */
  busy(content: Digest): boolean {
    return this.#open.peek(content)?.busy === true;
  }

  isVerified(content: Digest): boolean {
    return this.#open.peek(content)?.verified === true || this.#verified.has(content);
  }

  async has(content: Digest): Promise<boolean> {
    if (this.#open.has(content) || (await this.#disk.exists(this.path(content)))) return true;
    return this.#suspects && (await this.settle(content)) !== undefined;
  }

  /** Undefined if the file is not here. */
  async open(content: Digest): Promise<CompleteFile | undefined> {
    const open = this.#open.get(content);
    if (open !== undefined) return open;
    const verified = this.#verified.has(content);
    const file = await this.#openAt(this.path(content), content, verified);
    if (file !== undefined) return this.#remember(file);
    return this.#suspects ? this.settle(content) : undefined;
  }

  /** The one open object of a content: of two that were opened at once the second is closed. */
  #remember(file: CompleteFile): CompleteFile {
    const other = this.#open.get(file.file.content);
    if (other === undefined) this.#open.set(file.file.content, file);
    else void file.close();
    return other ?? file;
  }

  async #openAt(
    path: string,
    content: Digest,
    verified: boolean,
  ): Promise<CompleteFile | undefined> {
    try {
      return await CompleteFile.open(this.#disk, path, content, verified);
    } catch (error) {
      if (errnoName(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Gives a suspect file its name back if it is what it should be, and removes it otherwise. */
  settle(content: Digest): Promise<CompleteFile | undefined> {
    const running = this.#settling.get(content);
    if (running !== undefined) return running;
    const settling = this.#settle(content).finally(() => this.#settling.delete(content));
    this.#settling.set(content, settling);
    return settling;
  }

  async #settle(content: Digest): Promise<CompleteFile | undefined> {
    const path = tierPath(this.#layout.suspect, content);
    const file = await this.#openAt(path, content, false); // another may have been fetched since
    if (file === undefined) return undefined;
    if (!(await file.verify())) {
      await file.close();
      await this.#unlink(path);
      return undefined;
    }
    await this.#disk.rename(path, this.path(content));
    this.#onSettled(file.file);
    return this.#remember(file);
  }

  /** Reads a whole file again whatever is known of it; undefined if it is not here. */
  async scrub(content: Digest): Promise<boolean | undefined> {
    const file = await this.#openAt(this.path(content), content, false);
    try {
      return await file?.verify();
    } finally {
      await file?.close();
    }
  }

  /** Nothing is left in `suspect/`. */
  allSettled(): void {
    this.#suspects = false;
  }

  /**
   * Keeps a file whose bytes were verified to be `content`.
   * @returns false if it was here
   */
  async put(content: Digest, bytes: Buffer): Promise<boolean> {
    if (await this.#disk.exists(this.path(content))) return false;
    await this.place(content, bytes);
    return true;
  }

  /**
   * Keeps a file that is not here. It gets its name by rename, whole, and no file here is ever
   * changed; what is not synced yet is verified after an unclean stop.
   */
  async place(content: Digest, bytes: Buffer): Promise<void> {
    const incoming = this.incomingPath();
    const fd = await this.#disk.open(incoming, createNew);
    try {
      try {
        await this.#disk.write(fd, bytes, 0);
      } finally {
        await this.#disk.close(fd);
      }
      await this.adopt(incoming, content);
    } catch (error) {
      await this.#unlink(incoming).catch(() => undefined);
      throw error;
    }
  }

  /** A path for a file on its way, never used before. */
  incomingPath(): string {
    return `${this.#layout.incoming}/${process.pid}-${this.#counter++}`;
  }

  /** Gives the file at `path`, verified to be `content`, its final name. */
  async adopt(path: string, content: Digest): Promise<void> {
    await this.#disk.rename(path, this.path(content));
    this.#verified.set(content, true);
  }

  /** Removes a file, also while it is being read: readers keep what they have open. */
  async remove(content: Digest): Promise<void> {
    this.#open.delete(content);
    this.#verified.delete(content);
    await this.#unlink(this.path(content));
  }

  async #unlink(path: string): Promise<void> {
    try {
      await this.#disk.unlink(path);
    } catch (error) {
      if (errnoName(error) !== 'ENOENT') throw error;
    }
  }

  close(): void {
    this.#open.clear();
  }
}
