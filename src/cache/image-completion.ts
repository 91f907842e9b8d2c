import type { Frame } from '../chunk/frame.js';
import { ThinError } from '../errors.js';
import { mapBounded } from './bounded.js';
import type { CacheParts } from './cache-parts.js';
import type { FileOrigin, FileRef } from './file-origin.js';
import { diskBytesOfFrame } from './frame-keeper.js';
import type { CacheIndex } from './index-thread.js';
import type { Pause } from './pause-switch.js';
import { offerFile } from './shared-offers.js';

/** Files asked about in one call. */
const pageFiles = 256;
/** Chunks that are copied at a time; their bytes are in memory. */
const copiedChunks = 64;
/** Frames on their way at a time: a long line is filled, and a read finds free places beside them. */
const framesInFlight = 4;
/** Longest that a frame waits for reads that are going on, in milliseconds. */
const quietMs = 250;
/** A frame may serve more places than are kept at once, and files may be evicted on the way. */
const passesMax = 3;

export interface CompletionProgress {
  /** Bytes of all files. */
  readonly totalBytes: number;
  /** Bytes that are still to come. */
  readonly missingBytes: number;
  /** Bytes, of those that were missing, that other files here had. */
  readonly copiedBytes: number;
}

export interface CompletionOptions {
  /** All files of the image. */
  readonly files: Iterable<FileRef>;
  readonly origin: FileOrigin;
  readonly signal: AbortSignal;
  readonly pause?: Pause | undefined;
  readonly onProgress?: ((progress: CompletionProgress) => void) | undefined;
}

/** A frame that is to come, and the bytes of missing chunks in it. */
interface WantedFrame {
  readonly frame: Frame;
  bytes: number;
}

/** What a look at all files found. */
interface Plan {
  readonly frames: readonly WantedFrame[];
  /** Files that are not complete. */
  readonly missing: number;
}

/** Brings what is missing of an image, behind everything that somebody waits for. */
export class ImageCompletion {
  readonly #parts: CacheParts;
  readonly #index: CacheIndex;
  readonly #options: CompletionOptions;
  #totalBytes = 0;
  #missingBytes = 0;
  #copiedBytes = 0;
  /** Of the disk, for frames that are on their way. */
  #claimedBytes = 0;
  readonly #flying = new Set<Promise<unknown>>();
  /** One frame after the other asks for room. */
  #claiming: Promise<void> = Promise.resolve();

  constructor(parts: CacheParts, index: CacheIndex, options: CompletionOptions) {
    this.#parts = parts;
    this.#index = index;
    this.#options = options;
  }

  /**
   * Ends when all files are here. What is here already, in part too, is not fetched: it may be
   * stopped and begun again at any time.
   * @throws ThinError `no-space` if the cache has no room for it without what is mounted; `not-found`
   *   if the origin does not know a file; `canceled`; whatever the origin throws
   */
  async run(): Promise<CompletionProgress> {
    for (let pass = 1; ; pass++) {
      const { frames, missing } = await this.#plan();
      this.#report();
      if (missing === 0) return this.#progress();
      if (pass > passesMax) throw this.#incomplete(missing);
      await mapBounded(frames, framesInFlight, (wanted) => this.#bring(wanted));
      await this.#parts.keeper.settled();
    }
  }

  /** Looks at every file, and copies what other files have. */
  async #plan(): Promise<Plan> {
    const { ledger } = this.#parts;
    await ledger.flush();
    this.#totalBytes = 0;
    this.#missingBytes = 0;
    const wanted = new Map<string, WantedFrame>();
    let missing = 0;
    for (const page of pages(this.#options.files)) {
      await this.#turn();
      for (const { size } of page) this.#totalBytes += size;
      const absent = new Set(
        await this.#index.call(
          'missing',
          page.map(({ content }) => content),
        ),
      );
      for (const file of page) {
        // The index hears of files a moment later.
        if (!absent.has(file.content) || (await this.#isHere(file))) {
          await offerFile(this.#parts, file);
          continue;
        }
        missing++;
        await this.#planFile(file, wanted);
      }
    }
    const frames = [...wanted.values()].sort((a, b) => inPackOrder(a.frame, b.frame));
    return { frames, missing };
  }

  /** Where mounts read what nodes share, that is here too. */
  async #isHere(file: FileRef): Promise<boolean> {
    const { files, shared } = this.#parts;
    return (await files.has(file.content)) || (shared?.direct === true && shared.has(file));
  }

  async #planFile(file: FileRef, wanted: Map<string, WantedFrame>): Promise<void> {
    const { partials, keeper, copier } = this.#parts;
    const chunked = partials.describe(file, this.#options.origin);
    if (chunked === undefined) throw unknownFile(file);
    const { table } = chunked;
    const many = table.chunks.length > 1;
    const partial = many ? await partials.find(chunked).catch(() => undefined) : undefined;
    if (partial?.ready === true) keeper.promoteFound(chunked, partial);
    const missing = [...table.chunks.keys()].filter((index) => partial?.has(index) !== true);
    for (let at = 0; at < missing.length; at += copiedChunks) {
      const page = missing.slice(at, at + copiedChunks);
      const copied = await copier.copy(chunked, page);
      for (const index of page) {
        const { frame, length } = table.chunk(index);
        if (copied.has(index)) {
          this.#copiedBytes += length;
          continue;
        }
        const name = `${frame.pack} ${frame.offset}`;
        const known = wanted.get(name);
        if (known === undefined) wanted.set(name, { frame, bytes: length });
        else known.bytes += length;
        this.#missingBytes += length;
      }
    }
  }

  async #bring({ frame, bytes }: WantedFrame): Promise<void> {
    const { origin, signal } = this.#options;
    await this.#turn();
    await this.#parts.flights.quiet(quietMs);
    const needed = diskBytesOfFrame(origin.placementsIn(frame));
    const claim = this.#claiming.then(() => this.#claim(needed));
    this.#claiming = claim.catch(() => undefined);
    await claim;
    const flight = this.#parts.flights.prefetch(origin, frame, signal);
    this.#flying.add(flight);
    try {
      await flight;
    } finally {
      this.#flying.delete(flight);
      this.#claimedBytes -= needed;
    }
    this.#missingBytes -= bytes;
    this.#report();
  }

  /** What is on its way may be on the disk already, and count twice: it is waited for. */
  async #claim(bytes: number): Promise<void> {
    while (!(await this.#parts.ledger.hasRoom(this.#claimedBytes + bytes))) {
      if (this.#flying.size === 0) throw this.#full();
      await Promise.race(this.#flying).catch(() => undefined); // whoever began it is told
    }
    this.#claimedBytes += bytes;
  }

  async #turn(): Promise<void> {
    const { signal, pause } = this.#options;
    await pause?.over(signal);
    if (signal.aborted) {
      throw new ThinError('canceled', 'Cannot complete image: stopped', { cause: signal.reason });
    }
  }

  #progress(): CompletionProgress {
    return {
      totalBytes: this.#totalBytes,
      missingBytes: this.#missingBytes,
      copiedBytes: this.#copiedBytes,
    };
  }

  #report(): void {
    this.#options.onProgress?.(this.#progress());
  }

  #full(): ThinError {
    return new ThinError(
      'no-space',
      `Cannot complete image: ${this.#missingBytes} bytes are missing, and the cache has no room for them beside the images in use (allow it more space)`,
    );
  }

  #incomplete(missing: number): ThinError {
    return new ThinError(
      'unavailable',
      `Cannot complete image: ${missing} files are not kept although their bytes came`,
    );
  }
}

function* pages(files: Iterable<FileRef>): Generator<FileRef[]> {
  let page: FileRef[] = [];
  for (const file of files) {
    if (file.size === 0) continue; // an empty file needs no file here
    page.push(file);
    if (page.length < pageFiles) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

function inPackOrder(a: Frame, b: Frame): number {
  if (a.pack !== b.pack) return a.pack < b.pack ? -1 : 1;
  return a.offset - b.offset;
}

function unknownFile({ content }: FileRef): ThinError {
  return new ThinError(
    'not-found',
    `Cannot complete image: file ${content} is not here, and there is no thin form to fetch it from`,
  );
}
