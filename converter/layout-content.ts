import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError, ThinError } from '../src/errors.js';
import type { Descriptor } from '../src/image/descriptor.js';
import { type ImageIndex, parseManifest } from '../src/image/manifest.js';
import { mediaTypes } from '../src/image/media-type.js';
import { isTag } from '../src/image/reference.js';
import { limits } from '../src/limits.js';
import { storeError } from '../src/store/store-error.js';
import { checkContent, type ImageContent, type ImageDocument } from './image-content.js';

const nameAnnotation = 'org.opencontainers.image.ref.name';
/** What containerd and docker write beside it: the whole reference. */
const fullNameAnnotation = 'io.containerd.image.name';

/**
 * An image of an OCI image layout.
 * @param location `<folder>[:<tag>]`; without a tag the layout must hold one image
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
 */
export async function layoutContent(location: string): Promise<ImageContent> {
  const { folder, tag } = await splitLocation(location);
  const index = parseManifest(await readSmall(join(folder, 'index.json')), mediaTypes.ociIndex);
  if (index.kind !== 'index') {
    throw new ThinError('corrupt', `Cannot read oci:${location}: index.json is no index`);
  }
  const entry = chooseEntry(index, location, tag);
  return {
    name: entry.annotations?.[fullNameAnnotation] ?? nameOf(entry),
    root: () => readDocument(folder, entry),
    document: (descriptor) => readDocument(folder, descriptor),
    open: (descriptor, offset, signal) =>
      readBlobFile(blobFile(folder, descriptor), offset, signal),
    toString: () => `oci:${location}`,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/** Only a reference with a repository names an image: a tag alone does not. */
function nameOf({ annotations }: Descriptor): string | undefined {
  const name = annotations?.[nameAnnotation];
  return name !== undefined && /[/:]/.test(name) ? name : undefined;
}

async function splitLocation(location: string): Promise<{ folder: string; tag?: string }> {
  const colon = location.lastIndexOf(':');
  const tag = location.slice(colon + 1);
  if (colon < 0 || !isTag(tag) || (await isFolder(location))) return { folder: location };
  return { folder: location.slice(0, colon), tag };
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

function chooseEntry({ manifests }: ImageIndex, location: string, tag?: string): Descriptor {
  const names = manifests.map(({ annotations }) => annotations?.[nameAnnotation]);
  const fits = (index: number): boolean =>
    tag === undefined || names[index] === tag || names[index]?.endsWith(`:${tag}`) === true;
  const found = manifests.filter((_, index) => fits(index));
  const [only] = found;
  if (only && found.length === 1) return only;
  const known = names
    .map((name) => name ?? 'unnamed')
    .join(', ')
    .slice(0, 300);
  throw new ThinError(
    found.length === 0 ? 'not-found' : 'invalid',
    `Cannot choose image of oci:${location}: ${found.length} of its images fit (it has ${known || 'none'}; wanted oci:<folder>:<tag>)`,
  );
}

function blobFile(folder: string, { digest }: Descriptor): string {
  return join(folder, 'blobs', digest.replace(':', '/'));
}

async function readDocument(folder: string, descriptor: Descriptor): Promise<ImageDocument> {
  const path = blobFile(folder, descriptor);
  const bytes = await readSmall(path);
  checkContent(`manifest ${path}`, descriptor, bytes);
  return { bytes, mediaType: descriptor.mediaType };
}

/** A document of at most 4 MiB. */
async function readSmall(path: string): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size <= limits.manifestBytesMax) return await readFile(path);
    throw new ThinError(
      'corrupt',
      `Cannot read ${path}: ${size} bytes (wanted at most ${limits.manifestBytesMax})`,
    );
  } catch (error) {
    throw fromSystemError(`Cannot read ${path}`, error);
  }
}

/** Bytes read at a time. */
const pieceBytes = 256 * 1024;

/** Bytes of a file from `offset` on. */
export async function* readBlobFile(
  path: string,
  offset: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  let file: FileHandle | undefined;
  try {
    file = await open(path);
    for (let at = offset; ; ) {
      signal.throwIfAborted();
      const piece = Buffer.allocUnsafeSlow(pieceBytes);
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield piece.subarray(0, bytesRead);
    }
  } catch (error) {
    throw storeError(`Cannot read ${path}`, error, signal);
  } finally {
    await file?.close();
  }
}
