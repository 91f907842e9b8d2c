import type { Digest } from '../digest.js';
import type { LayerEntry, TarEntry } from '../image/layer-entry.js';

export type FileEntry = Extract<TarEntry, { type: 'file' }>;

/** Entries that were written until they are let go of: of a busy queue something always waits. */
const writtenMax = 256;

/** A file's place in the queue, until its content is known. */
export interface EntryPlace {
  readonly entry: FileEntry;
  content: Digest | undefined;
}

/** Entries in the order of the archive, where the digests of files come in any order. */
export class EntryQueue {
  readonly #write: (entry: LayerEntry) => void;
  #waiting: (LayerEntry | EntryPlace)[] = [];
  #head = 0;

  /** @param write told each entry in its turn */
  constructor(write: (entry: LayerEntry) => void) {
    this.#write = write;
  }

  add(entry: LayerEntry): void {
    if (this.#waiting.length === this.#head) this.#write(entry);
    else this.#waiting.push(entry);
  }

  addFile(entry: FileEntry): EntryPlace {
    const place: EntryPlace = { entry, content: undefined };
    this.#waiting.push(place);
    return place;
  }

  /** To be called when places have got their content. */
  advance(): void {
    for (; this.#head < this.#waiting.length; this.#head++) {
      const next = this.#waiting[this.#head];
      if (next === undefined) break;
      const entry = 'entry' in next ? entryOf(next) : next;
      if (entry === undefined) break;
      this.#write(entry);
    }
    if (this.#head < this.#waiting.length && this.#head < writtenMax) return;
    this.#waiting.splice(0, this.#head);
    this.#head = 0;
  }
}

function entryOf({ entry, content }: EntryPlace): LayerEntry | undefined {
  if (content === undefined) return undefined;
  const { path, type, mode, uid, gid, mtime, xattrs, size } = entry;
  return { path, type, mode, uid, gid, mtime, xattrs, size, content };
}
