import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { digestHex, digestOf, parseDigest } from '../digest.js';
import { fromSystemError, isThinError } from '../errors.js';
import { ErofsImage } from '../metadata/erofs-image.js';
import { TreeReader, walkImage } from '../metadata/tree-reader.js';
import type { FileRef } from './file-origin.js';
import { hexName } from './layout.js';

/*
 * The files of an image that was pulled in full cannot be fetched again one by one, so that losing
 * the index must not lose the knowledge that they are needed. One name for each such image,
 * `<image's id, percent-encoded>.erofs`: a hard link to its metadata image, which names them all and is
 * on the disk anyhow.
 *
 * Before that it was a text file `<SHA-256 of the id>`: a header, the id in JSON, then a line
 * `<64 hex> <size>` for each file. Those are read as long as they are there.
 */
const suffix = '.erofs';
const textHeader = 'thinfs pinned files 1';

export interface PinnedImage {
  readonly image: string;
  /** May name a file several times. @throws ThinError `corrupt` if what was kept of them is damaged */
  files(): FileRef[];
}

/**
 * Keeps the list so that it survives a power cut from here on.
 * @param metadata path of the image's metadata, on the same file system
 */
export function writePinFile(directory: string, image: string, metadata: string): void {
  const path = pinPath(directory, image);
  const draft = `${path}.new`;
  try {
    rmSync(draft, { force: true });
    linkSync(metadata, draft);
    sync(draft);
    renameSync(draft, path);
    rmSync(draft, { force: true }); // where both were the same file already, it is left
    sync(directory);
  } catch (error) {
    rmSync(draft, { force: true });
    throw fromSystemError(`Cannot pin image ${image}`, error);
  }
}

export function removePinFile(directory: string, image: string): void {
  rmSync(pinPath(directory, image), { force: true });
  rmSync(textPath(directory, image), { force: true });
  sync(directory);
}

/** All lists. One that is damaged is removed, as if its image had never been pulled. */
export function readPinFiles(directory: string): PinnedImage[] {
  const found: PinnedImage[] = [];
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    const pinned = hexName.test(name) ? readText(path) : pinnedBy(path, name);
    if (pinned === undefined) rmSync(path);
    else found.push(pinned);
  }
  return found;
}

function pinnedBy(path: string, name: string): PinnedImage | undefined {
  if (!name.endsWith(suffix)) return undefined;
  try {
    const image = decodeURIComponent(name.slice(0, -suffix.length));
    return { image, files: () => filesOf(path) };
  } catch {
    return undefined; // URIError
  }
}

function filesOf(path: string): FileRef[] {
  try {
    const image = ErofsImage.parse(readFileSync(path));
    const files: FileRef[] = [];
    for (const { nid, type } of walkImage(image, new TreeReader(image))) {
      const { content, size } = type === 'file' ? image.inode(nid) : { size: 0 };
      if (content !== undefined && size > 0) files.push({ content, size });
    }
    return files;
  } catch (error) {
    if (isThinError(error, 'corrupt', 'invalid')) rmSync(path);
    throw fromSystemError(`Cannot read pinned files ${path}`, error);
  }
}

function readText(path: string): PinnedImage | undefined {
  const [first, id, ...lines] = readFileSync(path, 'utf8').split('\n');
  if (first !== textHeader || id === undefined || lines.pop() !== '') return undefined;
  try {
    const image: unknown = JSON.parse(id);
    if (typeof image !== 'string') return undefined;
    const files = lines.map((line) => {
      const [hex = '', size = ''] = line.split(' ');
      return { content: parseDigest(`sha256:${hex}`), size: Number.parseInt(size, 10) };
    });
    const isWhole = files.every(({ size }) => Number.isSafeInteger(size));
    return isWhole ? { image, files: () => files } : undefined;
  } catch {
    return undefined;
  }
}

function pinPath(directory: string, image: string): string {
  return join(directory, encodeURIComponent(image) + suffix);
}

function textPath(directory: string, image: string): string {
  return join(directory, digestHex(digestOf(Buffer.from(image))));
}

function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
