import type { Digest } from '../digest.js';

/** How a frame's bytes are kept in its pack. `stored`: compression did not make them fewer. */
export type FrameCodec = 'stored' | 'zstd';

/** One fetchable unit: `length` bytes at `offset` of a pack, which decode to `plainLength` bytes. */
export interface Frame {
  readonly pack: Digest;
  readonly offset: number;
  readonly length: number;
  readonly plainLength: number;
  readonly codec: FrameCodec;
}

/** A chunk: `length` plain bytes at `offsetInFrame` of a decoded frame, whose SHA-256 is `digest`. */
export interface Chunk {
  readonly digest: Digest;
  readonly length: number;
  readonly frame: Frame;
  readonly offsetInFrame: number;
}

/** A pack blob: the concatenation of frames, named by the SHA-256 of all its bytes. */
export interface Pack {
  readonly digest: Digest;
  readonly size: number;
}

/** How the content of one file is put together: the chunks, in order, sum to `size` (over 0). */
export interface FileChunks {
  readonly content: Digest;
  readonly size: number;
  readonly chunks: readonly Chunk[];
}
