import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open, readdir, readlink } from 'node:fs/promises';
import { resolve } from 'node:path';
import { getXattr, listXattrs } from '../native-bindings/xattr.js';
import { type ByteString, byteString, emptyByteString } from '../src/byte-string.js';
import { parseDigest } from '../src/digest.js';
import { fromSystemError, ThinError } from '../src/errors.js';
import type { TarEntry } from '../src/image/layer-entry.js';
import { hostPlatform } from '../src/image/platform.js';
import type { Attributes } from '../src/image/tree.js';
import { joinPath } from '../src/metadata/tree-reader.js';
import type { ImageContent } from './image-content.js';
import { syntheticImage } from './synthetic-image.js';
import { archiveEnd, paddingOf, tarHeader } from './tar-writer.js';

/** Bytes read at a time. */
const pieceBytes = 256 * 1024;

/**
 * A folder as an image of one plain layer, for this machine's platform. The folder is read twice, once
 * for the layer's digest: a change in between is found out, as the digest is then another.
 */
export async function folderContent(folder: string, signal: AbortSignal): Promise<ImageContent> {
  const root = resolve(folder);
  const hash = createHash('sha256');
  let size = 0;
  for await (const bytes of archiveOf(root, signal)) {
    hash.update(bytes);
    size += bytes.length;
  }
  const digest = parseDigest(`sha256:${hash.digest('hex')}`);
  const { os, architecture, variant } = hostPlatform();
  const rootfs = { type: 'layers', diff_ids: [digest] };
  const config = Buffer.from(JSON.stringify({ architecture, variant, os, config: {}, rootfs }));
  const openLayer = (offset: number, opened: AbortSignal) => after(offset, archiveOf(root, opened));
  const layer = { digest, size, compression: 'none', open: openLayer } as const;
  return syntheticImage(`dir:${folder}`, undefined, config, [layer]);
}

async function* after(offset: number, source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let left = offset;
  for await (const bytes of source) {
    if (left < bytes.length) yield bytes.subarray(left);
    left = Math.max(0, left - bytes.length);
  }
}

/** The folder as a tar archive: entries in byte order of their names, a hard link after its file. */
async function* archiveOf(root: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const linked = new Map<string, ByteString>();
  const pending: ByteString[] = [emptyByteString];
  try {
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      signal.throwIfAborted();
      const place = placeOf(root, path);
      const entry = await entryOf(place, path, linked);
      if (!entry) continue;
      yield tarHeader(entry);
      if (entry.type === 'file') yield* fileBytes(place, entry.size);
      if (entry.type !== 'directory') continue;
      const names = (await readdir(place, { encoding: 'buffer' })).map((name) => byteString(name));
      for (const name of names.sort().reverse()) pending.push(joinPath(path, name));
    }
  } catch (error) {
    throw fromSystemError(`Cannot read folder ${root}`, error);
  }
  yield archiveEnd;
}

function placeOf(root: string, path: ByteString): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
}

/** Undefined for a socket, which archives have no form for and nobody listens at. */
async function entryOf(
  place: Buffer,
  path: ByteString,
  linked: Map<string, ByteString>,
): Promise<TarEntry | undefined> {
  const found = await lstat(place, { bigint: true });
  if (found.isSocket()) return undefined;
  const head = { path, ...(await attributesOf(place, found)) };
  if (found.isDirectory()) return { ...head, type: 'directory' };
  const inode = `${found.dev} ${found.ino}`;
  const target = found.nlink > 1n ? linked.get(inode) : undefined;
  if (target !== undefined) return { ...head, type: 'hardlink', target };
  linked.set(inode, path);
  if (found.isFile()) return { ...head, type: 'file', size: Number(found.size) };
  if (found.isFIFO()) return { ...head, type: 'fifo' };
  if (found.isSymbolicLink()) {
    const bytes = await readlink(place, { encoding: 'buffer' });
    return { ...head, type: 'symlink', target: byteString(bytes) };
  }
  const device = deviceOf(found.rdev);
  return { ...head, type: found.isBlockDevice() ? 'block' : 'character', device };
}

interface FileStatus {
  readonly mode: bigint;
  readonly uid: bigint;
  readonly gid: bigint;
  readonly mtimeNs: bigint;
}

async function attributesOf(place: Buffer, found: FileStatus): Promise<Attributes> {
  const xattrs = new Map<ByteString, Buffer>();
  for (const name of await listXattrs(place)) {
    const value = await getXattr(place, name);
    if (value) xattrs.set(name, value);
  }
  const nanoseconds = ((found.mtimeNs % billion) + billion) % billion;
  return {
    mode: Number(found.mode & 0o7777n),
    uid: Number(found.uid),
    gid: Number(found.gid),
    mtime: {
      seconds: Number((found.mtimeNs - nanoseconds) / billion),
      nanoseconds: Number(nanoseconds),
    },
    xattrs,
  };
}

const billion = 1_000_000_000n;

/** As glibc's `makedev` packs them. */
function deviceOf(rdev: bigint): { major: number; minor: number } {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return { major: Number(major), minor: Number(minor) };
}

/** Exactly `size` bytes, and what fills the last block. */
async function* fileBytes(place: Buffer, size: number): AsyncGenerator<Buffer> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
  const file = await open(place, flags);
  try {
    for (let at = 0; at < size; ) {
      const piece = Buffer.allocUnsafeSlow(Math.min(pieceBytes, size - at));
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) {
        throw new ThinError('unavailable', `Cannot read ${place}: it became shorter meanwhile`);
      }
      yield piece.subarray(0, bytesRead);
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
  yield paddingOf(size);
}
