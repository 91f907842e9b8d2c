import { LRUCache } from 'lru-cache';
import { ThinError } from '../errors.js';
import { ChunkTable } from './chunk-table.js';
import { type Disk, errnoName, openOrCreate, openToRead, openToWrite } from './disk.js';
import type { FileOrigin, FileRef } from './file-origin.js';
import { type ChunkedFile, PartialFile } from './partial-file.js';
import type { PartialView, PartialViewEvents } from './partial-view.js';

/** Partial files held open. */
const openFilesMax = 256;
/** Chunks of the lists that are remembered, so that not every read builds them: about 20 MiB. */
const chunksMax = 100_000;
/** Milliseconds after which what was not used is forgotten, and what was not read is closed. */
const idleMs = 120_000;

/** The open partial files, one object for each file whatever number of images share it. */
export class PartialFiles {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #tables = new LRUCache<string, ChunkedFile>({
    maxSize: chunksMax,
    sizeCalculation: ({ table }) => table.chunks.length + 1,
  });
  /** In order of use. Not an LRU cache: a file that is being filled must stay the only one. */
  readonly #open = new Map<string, PartialFile>();
  /** Openings and removals under way; whoever wants the same file waits. */
  readonly #changing = new Map<string, Promise<unknown>>();
  readonly #events: PartialViewEvents;
  /** Views of open files that others were told of, by key. */
  readonly #views = new Map<string, PartialView>();
  /** Open files that were not used since the last look. */
  #unused = new Set<string>();
  #tablesUsed: boolean;
  #timer: NodeJS.Timeout | undefined;

  constructor(disk: Disk, directory: string, events: PartialViewEvents) {
    this.#disk = disk;
    this.#directory = directory;
    this.#events = events;
    this.#tablesUsed = false;
  }

  path(key: string): string {
    return `${this.#directory}/${key}`;
  }

  /**
   * The file's chunks as `origin` tells them; undefined where it knows none.
   * @throws ThinError `corrupt` if they contradict the file
   */
  describe(file: FileRef, origin: FileOrigin): ChunkedFile | undefined {
    this.#timer ??= setInterval(() => this.dropUnused(), idleMs).unref();
    this.#tablesUsed = true;
    const name = tableName(file, origin);
    const known = this.#tables.get(name);
    if (known !== undefined) {
      if (known.file.size === file.size) return known;
      throw new ThinError(
        'corrupt',
        `Cannot read file ${file.content}: the image says ${file.size} and ${known.file.size} bytes`,
      );
    }
    const chunks = origin.chunksOf(file.content);
    if (chunks === undefined) return undefined;
    const table = new ChunkTable(file, chunks);
    const described = { file, table, key: table.key(file) };
    // Of small files there are too many, and what they need is quickly found.
    if (chunks.length > 1) this.#tables.set(name, described);
    return described;
  }

  /** The partial file of `origin` if it is open; costs no call. */
  opened(file: FileRef, origin: FileOrigin): PartialFile | undefined {
    const known = this.#tables.get(tableName(file, origin));
    if (known?.file.size !== file.size) return undefined;
    this.#tablesUsed = true;
    this.#unused.delete(known.key);
    return this.#open.get(known.key);
  }

  /** Opens the partial file, made if it is missing. */
  open(chunked: ChunkedFile): Promise<PartialFile> {
    return this.#openWith(chunked, openOrCreate);
  }

  /** Opens the partial file; undefined if there is none. */
  async find(chunked: ChunkedFile): Promise<PartialFile | undefined> {
    try {
      return await this.#openWith(chunked, openToWrite);
    } catch (error) {
      if (errnoName(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async #openWith(chunked: ChunkedFile, flags: number): Promise<PartialFile> {
    const { key } = chunked;
    for (;;) {
      const open = this.#open.get(key);
      if (open !== undefined) {
        this.#open.delete(key);
        this.#open.set(key, open);
        this.#unused.delete(key);
        return open;
      }
      const changing = this.#changing.get(key);
      if (changing !== undefined) {
        await changing.catch(() => undefined);
        continue;
      }
      await this.#change(key, async () => {
        const file = await PartialFile.open(this.#disk, this.path(key), flags, chunked);
        this.#open.set(key, file);
        this.#closeIdle(key);
      });
    }
  }

  /** The partial file of `origin` as other threads may read it, if it is open; costs no call. */
  view(file: FileRef, origin: FileOrigin): PartialView | undefined {
    const known = this.#tables.get(tableName(file, origin));
    if (known?.file.size !== file.size) return undefined;
    const open = this.#open.get(known.key);
    if (open === undefined || this.#changing.has(known.key)) return undefined;
    const view = this.#views.get(known.key) ?? open.view(this.path(known.key));
    this.#views.set(known.key, view);
    return view;
  }

  /** Before the name goes, and when the object that fills the file goes. */
  #hide(key: string): void {
    const view = this.#views.get(key);
    if (view === undefined) return;
    this.#views.delete(key);
    Atomics.store(view.named, 0, 0);
    this.#events.onPartialEnd?.(view);
  }

  /** The open file is to be found no more; whoever reads it goes on. */
  #forget(key: string): PartialFile | undefined {
    const open = this.#open.get(key);
    this.#open.delete(key);
    this.#hide(key);
    return open;
  }

  /** Bytes that the caller verifies, of a file that is perhaps there; fewer where it ends before. */
  async readUnverified(key: string, offset: number, length: number): Promise<Buffer | undefined> {
    const bytes = Buffer.allocUnsafe(length);
    const fd = await this.#disk.open(this.path(key), openToRead).catch((error: unknown) => {
      if (errnoName(error) !== 'ENOENT') throw error;
    });
    if (fd === undefined) return undefined;
    try {
      return bytes.subarray(0, await this.#disk.read(fd, bytes, offset));
    } finally {
      await this.#disk.close(fd);
    }
  }

  /** True where the file is being read, filled or opened. */
  busy(key: string): boolean {
    return this.#changing.has(key) || this.#open.get(key)?.busy === true;
  }

  /** Closes the file and moves it to where `place` puts it. */
  async promote(key: string, place: (path: string) => Promise<void>): Promise<void> {
    await this.#change(key, async () => {
      this.#hide(key);
      await place(this.path(key));
      void this.#forget(key)?.close();
    });
  }

  /** Removes the file. */
  async remove(key: string): Promise<void> {
    await this.#changing.get(key)?.catch(() => undefined);
    await this.#change(key, async () => {
      await this.#forget(key)?.close();
      await this.#disk.unlink(this.path(key)).catch((error: unknown) => {
        if (errnoName(error) !== 'ENOENT') throw error;
      });
    });
  }

  async #change(key: string, work: () => Promise<void>): Promise<void> {
    const changing = work();
    this.#changing.set(key, changing);
    try {
      await changing;
    } finally {
      this.#changing.delete(key);
    }
  }

  #closeIdle(opened: string): void {
    for (const [key, file] of this.#open) {
      if (this.#open.size <= openFilesMax || key === opened) return;
      if (file.busy || this.#changing.has(key)) continue;
      void this.#forget(key)?.close();
    }
  }

  /** Forgets chunk lists, and closes files, that nobody has used since the last call. */
  dropUnused(): void {
    if (!this.#tablesUsed) this.#tables.clear();
    this.#tablesUsed = false;
    for (const key of this.#unused) {
      if (!this.busy(key)) void this.#forget(key)?.close();
    }
    this.#unused = new Set(this.#open.keys());
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled(this.#changing.values());
    await Promise.all([...this.#open.keys()].map((key) => this.#forget(key)?.close()));
  }
}

function tableName(file: FileRef, origin: FileOrigin): string {
  return `${origin.id} ${file.content}`;
}
