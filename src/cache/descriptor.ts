import { ThinError } from '../errors.js';
import type { Disk } from './disk.js';

/**
 * An open file that is closed only when nobody is using it: a number closed too early is given to
 * the next file that is opened, and a late read would return that one's bytes.
 */
export class Descriptor {
  readonly #disk: Disk;
  readonly #fd: number;
  #users = 0;
  #retired: boolean;
  #closed: Promise<void> | undefined;

  constructor(disk: Disk, fd: number) {
    this.#disk = disk;
    this.#fd = fd;
    this.#retired = false;
  }

  get busy(): boolean {
    return this.#users > 0;
  }

  /** Fewer bytes than `into` has only at the end of the file. */
  read(into: Buffer, position: number): Promise<number> {
    return this.use((disk, fd) => disk.read(fd, into, position));
  }

  /** @throws ThinError `busy` if the file was closed already: it is to be opened again */
  async use<T>(work: (disk: Disk, fd: number) => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) {
      throw new ThinError('busy', 'Cannot use open cache file: it was closed in the meantime');
    }
    this.#users++;
    try {
      return await work(this.#disk, this.#fd);
    } finally {
      this.#users--;
      if (this.#retired && this.#users === 0) await this.#close();
    }
  }

  /** No new use begins after this; closes at once or with the last use. */
  async retire(): Promise<void> {
    this.#retired = true;
    if (this.#users === 0) await this.#close();
  }

  /** A failing close leaves nothing to be done: the kernel has released the number all the same. */
  #close(): Promise<void> {
    this.#closed ??= this.#disk.close(this.#fd).catch(() => undefined);
    return this.#closed;
  }
}
