import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { Chunk, FileChunks, Frame } from './frame.js';
import type { Place } from './frame-filler.js';

/** A chunk of the pack that is being written, whose frames have no pack to name yet. */
interface NewChunk {
  readonly digest: Digest;
  readonly length: number;
  readonly place: Place;
}

/** A chunk of a file: in the new pack, or where it was before. */
export type FileChunk = Chunk | NewChunk;

export interface PackStats {
  /** Files that were given, empty ones too, and their plain bytes. */
  readonly files: number;
  readonly plainBytes: number;
  /** Chunks of all these files. */
  readonly chunks: number;
  /** Those that are in the new pack, and their plain bytes. */
  readonly newChunks: number;
  readonly newPlainBytes: number;
}

/** Which chunks and files a pack was made from, each once. */
export class PackContents {
  readonly #known: (digest: Digest) => Chunk | undefined;
  readonly #newChunks = new Map<Digest, NewChunk>();
  readonly #files = new Map<Digest, { size: number; chunks: readonly FileChunk[] }>();
  readonly #stats = { files: 0, plainBytes: 0, chunks: 0, newChunks: 0, newPlainBytes: 0 };

  constructor(known: (digest: Digest) => Chunk | undefined) {
    this.#known = known;
  }

  get stats(): PackStats {
    return { ...this.#stats };
  }

  /** The chunk, if it is here or elsewhere. A chunk of another length is not believed. */
  find(digest: Digest, length: number): FileChunk | undefined {
    this.#stats.chunks++;
    const found = this.#newChunks.get(digest) ?? this.#known(digest);
    return found?.length === length ? found : undefined;
  }

  add(digest: Digest, length: number, place: Place): FileChunk {
    const chunk = { digest, length, place };
    this.#newChunks.set(digest, chunk);
    this.#stats.newChunks++;
    this.#stats.newPlainBytes += length;
    return chunk;
  }

  addFile(content: Digest, size: number, chunks: readonly FileChunk[]): void {
    this.#stats.files++;
    this.#stats.plainBytes += size;
    if (size > 0 && !this.#files.has(content)) this.#files.set(content, { size, chunks });
  }

  /** @param frames all frames of the new pack, in order */
  resolve(frames: readonly Frame[]): FileChunks[] {
    const resolved = new Map<FileChunk, Chunk>();
    for (const chunk of this.#newChunks.values()) resolved.set(chunk, inFrame(chunk, frames));
    return [...this.#files].map(([content, { size, chunks }]) => ({
      content,
      size,
      chunks: chunks.map((chunk) => ('frame' in chunk ? chunk : resolvedOf(chunk, resolved))),
    }));
  }
}

function inFrame({ digest, length, place }: NewChunk, frames: readonly Frame[]): Chunk {
  const frame = frames[place.ticket.number ?? -1];
  if (!frame) throw new ThinError('invalid', `Cannot place chunk ${digest}: its frame is missing`);
  return { digest, length, frame, offsetInFrame: place.offsetInFrame };
}

function resolvedOf(chunk: NewChunk, resolved: ReadonlyMap<FileChunk, Chunk>): Chunk {
  const found = resolved.get(chunk);
  if (!found) throw new ThinError('invalid', `Cannot place chunk ${chunk.digest}: it is not new`);
  return found;
}
