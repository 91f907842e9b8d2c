import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { Digest } from '../digest.js';
import { fromSystemError, isThinError } from '../errors.js';
import { entryWords, type SharedFileList } from './file-list.js';
import { fileListName } from './make-file-list.js';

/*
 * A file list on disk, for the next process that shows the same files: making it anew takes the whole
 * tree of the image. This machine's own byte order; what another left there has another name.
 *
 *   name (32 bytes, SHA-256)   entries, as in file-list.ts
 */
const nameBytes = 32;
const entryBytes = entryWords * Uint32Array.BYTES_PER_ELEMENT;

/** Writes it whole or not at all; a power cut may still take it. @throws ThinError `no-space`, … */
export async function keepFileList(path: string, { name, entries }: SharedFileList): Promise<void> {
  const temporary = `${path}.new`; // what a killed process left there is written over
  const bytes = Buffer.concat([Buffer.from(name, 'hex'), Buffer.from(entries)]);
  try {
    await writeFile(temporary, bytes, { mode: 0o600 });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw fromSystemError(`Cannot keep ${path}`, error);
  }
}

/**
 * @returns undefined if there is none, or none that is whole and of this image
 * @throws ThinError if the disk fails
 */
export async function readFileList(
  path: string,
  image: Digest,
): Promise<SharedFileList | undefined> {
  const bytes = await readWhole(path);
  const size = (bytes?.length ?? 0) - nameBytes;
  if (!bytes || size < 0 || size % entryBytes !== 0) return undefined;
  const entries = new SharedArrayBuffer(size);
  new Uint8Array(entries).set(bytes.subarray(nameBytes));
  const name = bytes.toString('hex', 0, nameBytes);
  if (fileListName(image, new Uint32Array(entries)) !== name) return undefined;
  return { image, name, entries };
}

async function readWhole(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (cause) {
    const error = fromSystemError(`Cannot read ${path}`, cause);
    if (isThinError(error, 'not-found')) return undefined;
    throw error;
  }
}
