import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { decodeFrame } from '../../src/chunk/codec.js';
import type { Chunk, FileChunks, Frame } from '../../src/chunk/frame.js';
import {
  type PackResult,
  PackWriter,
  type PackWriterOptions,
} from '../../src/chunk/pack-writer.js';

/** A file to pack: its content, or how it comes in pieces, of which numbers are holes. */
export interface InputFile {
  readonly path: string;
  readonly pieces: readonly (Buffer | number)[];
}

export function sizeOf(file: InputFile): number {
  return file.pieces.reduce<number>(
    (sum, piece) => sum + (typeof piece === 'number' ? piece : piece.length),
    0,
  );
}

export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-chunk-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Packs `files`, and calls `pause` between any two calls of the writer. */
export async function packFiles(
  files: readonly InputFile[],
  options: Omit<PackWriterOptions, 'signal'> & { signal?: AbortSignal },
  pause: () => Promise<void> | void = () => undefined,
): Promise<PackResult & { files: FileChunks[]; contents: string[] }> {
  const writer = await PackWriter.create({ signal: new AbortController().signal, ...options });
  const contents: Promise<{ content: string }>[] = [];
  for (const file of files) {
    await writer.beginFile(byteStringFromText(file.path), sizeOf(file));
    for (const piece of file.pieces) {
      await pause();
      await (typeof piece === 'number' ? writer.hole(piece) : writer.write(piece));
    }
    contents.push(writer.endFile());
  }
  const result = await writer.finish();
  return {
    ...result,
    files: [...result.files],
    contents: (await Promise.all(contents)).map(({ content }) => content),
  };
}

/** Content of a file out of its pack, frame by frame. */
export async function unpackFile(pack: Buffer, file: FileChunks): Promise<Buffer> {
  const chunks = file.chunks.map((chunk) => unpackChunk(pack, chunk));
  return Buffer.concat(await Promise.all(chunks));
}

export async function unpackChunk(pack: Buffer, chunk: Chunk): Promise<Buffer> {
  const { frame, offsetInFrame, length } = chunk;
  const plain = await decodeFrame(frame, pack.subarray(frame.offset, frame.offset + frame.length));
  return plain.subarray(offsetInFrame, offsetInFrame + length);
}

/** The frames that the chunks of `files` are in, each once, by offset. */
export function framesOf(files: readonly FileChunks[]): Frame[] {
  const frames = new Set(files.flatMap((file) => file.chunks.map((chunk) => chunk.frame)));
  return [...frames].sort((a, b) => a.offset - b.offset);
}
