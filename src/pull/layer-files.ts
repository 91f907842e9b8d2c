import type { FileSpan, FileSpool, FileStore } from '../../native-bindings/file-store.js';
import type { PackedFile } from '../cache/packed-files.js';
import { digestOf } from '../digest.js';
import type { LayerEntry, TarEntry } from '../image/layer-entry.js';
import type { TarEvent } from '../layer/tar-event.js';
import { type EntryPlace, EntryQueue } from './entry-queue.js';
import type { PiecePool } from './piece-pool.js';

/** Files up to this many bytes are stored whole, by one call for many of them. */
const smallBytesMax = 1024 * 1024;
const blockBytes = 4096;
const nothing = Buffer.alloc(0);
/** Empty files need no file in a tier. */
const emptyContent = digestOf(nothing);

/** Room on the disk, asked for before it is taken. One call at a time. */
export interface Room {
  /** @returns false where room is scarce */
  take(bytes: number): Promise<boolean>;
  /** Waits for exactly so much. */
  takeExactly(bytes: number): Promise<void>;
}

export interface LayerFilesParts {
  /** Where the events' bytes are. */
  readonly memory: PiecePool;
  readonly room: Room;
  /** Told each entry, in the order of the archive. */
  readonly record: (entry: LayerEntry) => void;
  /** Told files that are in the tier. */
  readonly stored: (files: readonly PackedFile[]) => void;
}

interface SmallFile {
  readonly kind: 'small';
  readonly place: EntryPlace;
  readonly pieces: Buffer[];
}

interface LargeFile {
  readonly kind: 'large';
  readonly place: EntryPlace;
  readonly spool: FileSpool;
  /** Zeros that come before the next bytes. */
  hole: number;
  written: number;
  /** The last write, which may go on while the next bytes are inflated. */
  writing: Promise<void>;
}

/** Files that are whole in the memory of one piece. */
interface Batch {
  readonly memory: ArrayBufferLike;
  readonly spans: FileSpan[];
  readonly places: EntryPlace[];
}

/**
 * Turns a layer's events into files of a tier and entries of its record. Hashing, writing and naming
 * happen on other threads, while this one goes on.
 */
export class LayerFiles {
  readonly #store: FileStore;
  readonly #memory: PiecePool;
  readonly #room: Room;
  readonly #stored: LayerFilesParts['stored'];
  readonly #queue: EntryQueue;
  readonly #inFlightMax: number;
  readonly #inFlight = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  #open: SmallFile | LargeFile | undefined;
  #batch: Batch | undefined;

  /** @param inFlightMax calls that store files at the same time */
  constructor(store: FileStore, inFlightMax: number, parts: LayerFilesParts) {
    this.#store = store;
    this.#inFlightMax = inFlightMax;
    this.#memory = parts.memory;
    this.#room = parts.room;
    this.#stored = parts.stored;
    this.#queue = new EntryQueue(parts.record);
  }

  /**
   * @param events of one piece of plain bytes
   * @throws ThinError `no-space`, `unavailable`, `denied`
   */
  async take(events: readonly TarEvent[]): Promise<void> {
    for (const event of events) {
      // Most events wait for nothing: a promise for each would be a third of a pull's garbage.
      const waits = this.#takeOne(event);
      if (waits !== undefined) await waits;
    }
    await this.#storeBatch();
    this.#copyOpen();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  #takeOne(event: TarEvent): Promise<void> | undefined {
    if (event.type === 'data') return this.#addBytes(event.bytes);
    if (event.type === 'end-of-file') return this.#end();
    if (event.type === 'entry') this.#begin(event.entry);
    else this.#addHole(event.length);
    return undefined;
  }

  /** The piece's memory is used again: what goes on in the next one is kept aside. */
  #copyOpen(): void {
    if (this.#open?.kind !== 'small') return;
    const { pieces } = this.#open;
    const last = pieces.pop();
    if (last !== undefined) pieces.push(Buffer.from(last));
  }

  /** Ends when all is stored. */
  async finish(): Promise<void> {
    await this.settled();
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#queue.advance();
  }

  /** Ends when nothing is being stored any more. */
  async settled(): Promise<void> {
    if (this.#open?.kind === 'large') await this.#open.writing.catch(() => undefined);
    await Promise.all(this.#inFlight);
  }

  #begin(entry: TarEntry): void {
    if (entry.type !== 'file') {
      this.#queue.add(entry);
    } else if (entry.size === 0) {
      this.#queue.add({ ...entry, content: emptyContent });
    } else if (entry.size <= smallBytesMax) {
      this.#open = { kind: 'small', place: this.#queue.addFile(entry), pieces: [] };
    } else {
      const place = this.#queue.addFile(entry);
      const begun = { hole: 0, written: 0, writing: Promise.resolve() };
      this.#open = { kind: 'large', place, spool: this.#store.spool(), ...begun };
    }
  }

  #addBytes(bytes: Buffer): Promise<void> | undefined {
    const file = this.#open;
    if (file?.kind === 'large') return this.#spool(file, bytes);
    file?.pieces.push(bytes);
    return undefined;
  }

  #addHole(length: number): void {
    const file = this.#open;
    if (file?.kind === 'small') file.pieces.push(Buffer.alloc(length));
    else if (file !== undefined) file.hole += length;
  }

  async #spool(file: LargeFile, bytes: Buffer): Promise<void> {
    const taken = inBlocks(file.written + bytes.length) - inBlocks(file.written);
    file.written += bytes.length;
    if (!(await this.#room.take(taken))) await this.#room.takeExactly(taken);
    await file.writing;
    this.#memory.retain(bytes.buffer);
    file.writing = file.spool
      .write(file.hole, bytes)
      .finally(() => this.#memory.release(bytes.buffer));
    file.writing.catch(() => undefined); // is thrown where it is awaited
    file.hole = 0;
  }

  #end(): Promise<void> | undefined {
    const file = this.#open;
    this.#open = undefined;
    if (file?.kind === 'large') return this.#endLarge(file);
    if (file !== undefined) return this.#endSmall(file);
    this.#queue.advance(); // of an empty file
    return undefined;
  }

  #endSmall({ place, pieces }: SmallFile): Promise<void> | undefined {
    const [first = nothing] = pieces;
    const whole = pieces.length === 1 ? first : Buffer.concat(pieces);
    // One that came in pieces has memory of its own, or shares that of Node's small buffers.
    const isOther = this.#batch !== undefined && this.#batch.memory !== whole.buffer;
    if (isOther) return this.#storeBatch().then(() => this.#addToBatch(place, whole));
    this.#addToBatch(place, whole);
    return undefined;
  }

  #addToBatch(place: EntryPlace, whole: Buffer): void {
    this.#batch ??= { memory: whole.buffer, spans: [], places: [] };
    this.#batch.spans.push({ offset: whole.byteOffset, length: whole.length });
    this.#batch.places.push(place);
  }

  async #endLarge(file: LargeFile): Promise<void> {
    if (file.hole > 0) await this.#spool(file, nothing);
    await file.writing;
    const { spool, place } = file;
    await this.#start(async () => this.#placed([place], [await spool.commit()]));
  }

  async #storeBatch(): Promise<void> {
    const batch = this.#batch;
    this.#batch = undefined;
    if (batch === undefined) return;
    const { memory, spans, places } = batch;
    await this.#reserve(batch);
    this.#memory.retain(memory);
    await this.#start(async () => {
      try {
        this.#placed(places, await this.#store.store(Buffer.from(memory), spans));
      } finally {
        this.#memory.release(memory);
      }
    });
  }

  /** Room for a batch; where it is scarce, only for the files that are not here. */
  async #reserve({ memory, spans }: Batch): Promise<void> {
    const taken = (some: readonly FileSpan[]) =>
      some.reduce((sum, { length }) => sum + inBlocks(length), 0);
    if (await this.#room.take(taken(spans))) return;
    const here = await this.#store.find(Buffer.from(memory), spans);
    await this.#room.takeExactly(taken(spans.filter((_, at) => here[at] !== true)));
  }

  /** Begins to store something, as soon as less than the most is under way. */
  async #start(work: () => Promise<void>): Promise<void> {
    while (this.#inFlight.size >= this.#inFlightMax) await Promise.race(this.#inFlight);
    const running = work()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#inFlight.delete(running));
    this.#inFlight.add(running);
  }

  #placed(places: readonly EntryPlace[], stored: Awaited<ReturnType<FileStore['store']>>): void {
    const files = places.map((place, at): PackedFile => {
      const { content, isNew = false, allocated = 0 } = stored[at] ?? {};
      place.content = content;
      const { size } = place.entry;
      return { content: content ?? emptyContent, size, allocated: isNew ? allocated : undefined };
    });
    this.#stored(files);
    this.#queue.advance();
  }
}

/** What a disk takes for so many bytes. */
function inBlocks(bytes: number): number {
  return Math.ceil(bytes / blockBytes) * blockBytes;
}
