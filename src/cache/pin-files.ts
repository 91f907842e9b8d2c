import { createHash } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { digestHex, parseDigest } from '../digest.js';
import { fromSystemError } from '../errors.js';
import type { FileRef } from './file-origin.js';
import { hexName } from './layout.js';

/*
 * The files of an image that was pulled in full cannot be fetched again one by one, so that losing
 * the index must not lose the knowledge that they are needed. One text file for each such image:
 * a header, the image's id in JSON, then a line `<64 hex> <size>` for each file.
 */
const header = 'thinfs pinned files 1';

export interface PinnedImage {
  readonly image: string;
  readonly files: readonly FileRef[];
}

/** Files whose lines are written at once: an image has up to a million. */
const linesMax = 2048;

/** Writes the list so that it survives a power cut from here on. */
export function writePinFile(
  directory: string,
  { image, files }: { readonly image: string; readonly files: Iterable<FileRef> },
): void {
  const path = pinPath(directory, image);
  try {
    const fd = openSync(`${path}.new`, 'w', 0o600);
    try {
      writeFully(fd, `${header}\n${JSON.stringify(image)}\n`);
      let lines: string[] = [];
      for (const { content, size } of files) {
        if (lines.push(`${digestHex(content)} ${size}\n`) < linesMax) continue;
        writeFully(fd, lines.join(''));
        lines = [];
      }
      writeFully(fd, lines.join(''));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(`${path}.new`, path);
    syncDirectory(directory);
  } catch (error) {
    rmSync(`${path}.new`, { force: true });
    throw fromSystemError(`Cannot pin image ${image}`, error);
  }
}

function writeFully(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

export function removePinFile(directory: string, image: string): void {
  rmSync(pinPath(directory, image), { force: true });
  syncDirectory(directory);
}

/** All lists; one that is damaged is left out, as if its image had never been pulled. */
export function readPinFiles(directory: string): PinnedImage[] {
  const found: PinnedImage[] = [];
  for (const name of readdirSync(directory)) {
    // What has no name yet may end anywhere, also where a line does.
    const text = hexName.test(name) ? readFileSync(join(directory, name), 'utf8') : '';
    const pinned = parsePinFile(text);
    if (pinned === undefined) rmSync(join(directory, name));
    else found.push(pinned);
  }
  return found;
}

function parsePinFile(text: string): PinnedImage | undefined {
  const [first, id, ...lines] = text.split('\n');
  if (first !== header || id === undefined || lines.pop() !== '') return undefined;
  try {
    const image: unknown = JSON.parse(id);
    if (typeof image !== 'string') return undefined;
    const files = lines.map((line) => {
      const [hex = '', size = ''] = line.split(' ');
      return { content: parseDigest(`sha256:${hex}`), size: Number.parseInt(size, 10) };
    });
    return files.every(({ size }) => Number.isSafeInteger(size)) ? { image, files } : undefined;
  } catch {
    return undefined;
  }
}

function pinPath(directory: string, image: string): string {
  return join(directory, createHash('sha256').update(image).digest('hex'));
}

function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
