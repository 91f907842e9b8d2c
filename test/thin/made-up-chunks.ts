import type { Chunk, FileChunks, Frame, Pack } from '../../src/chunk/frame.js';
import { type Digest, digestOf } from '../../src/digest.js';

/** A digest of nothing in particular, the same for the same name. */
export function madeUpDigest(name: string): Digest {
  return digestOf(Buffer.from(name));
}

export function madeUpFrame(pack: Digest, over: Partial<Frame> = {}): Frame {
  return { pack, offset: 0, length: 600, plainLength: 1000, codec: 'zstd', ...over };
}

export function madeUpChunk(name: string, frame: Frame, offsetInFrame: number, length: number) {
  return { digest: madeUpDigest(name), length, frame, offsetInFrame } satisfies Chunk;
}

export function madeUpFile(name: string, chunks: readonly Chunk[]): FileChunks {
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const content = chunks.length === 1 && chunks[0] ? chunks[0].digest : madeUpDigest(name);
  return { content, size, chunks };
}

/**
 * Two packs; frames with a gap before them and between their chunks; a stored frame; files of one
 * chunk; files of several chunks that share some; a chunk that recurs; a chunk that is a file and
 * part of another.
 */
export function madeUpFiles(): { files: FileChunks[]; packs: Pack[] } {
  const packs = [
    { digest: madeUpDigest('pack b'), size: 5000 },
    { digest: madeUpDigest('pack a'), size: 2 ** 33 },
  ] as const;
  const solid = madeUpFrame(packs[0].digest);
  const stored = madeUpFrame(packs[0].digest, {
    offset: 700,
    length: 100,
    plainLength: 100,
    codec: 'stored',
  });
  const far = madeUpFrame(packs[1].digest, { offset: 2 ** 32 + 5, plainLength: 300_000 });
  const small = madeUpChunk('small', solid, 0, 10);
  const gap = madeUpChunk('after a gap', solid, 500, 500);
  const zeros = madeUpChunk('zeros', far, 0, 65_536);
  const tail = madeUpChunk('tail', far, 65_536, 1);
  const raw = madeUpChunk('raw', stored, 0, 100);
  return {
    packs: [...packs],
    files: [
      madeUpFile('small', [small]),
      madeUpFile('large', [zeros, zeros, gap, zeros, tail]),
      madeUpFile('raw', [raw]),
      madeUpFile('both', [small, raw, tail]),
    ],
  };
}
