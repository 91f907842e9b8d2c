import { isThinError, ThinError } from '../errors.js';
import { limits } from '../limits.js';
import { bytesOf, collect, verified } from './byte-stream.js';
import { encodeManifestList, parseManifestList } from './manifest-list.js';
import { blobPath, subjectPath, tagPath } from './object-paths.js';
import type { ObjectReader, ObjectWriter } from './objects.js';
import type { AdoptingStore, Blob, ListedManifest, Store, WritableStore } from './store.js';

/** A store in the layout of object-paths.ts, over anything that holds files. */
export function layoutStore(objects: ObjectReader): Store {
  const list = async (path: string, signal: AbortSignal): Promise<ListedManifest[]> => {
    const bytes = await objects.readSmall(path, limits.manifestBytesMax, signal);
    return bytes ? parseManifestList(bytes) : [];
  };
  return {
    async *openRange(blob, offset, length, signal, options) {
      checkRange(blob, offset, length);
      const range = { offset, length, size: blob.size };
      yield* objects.openRange(blobPath(blob.digest), range, signal, options);
    },
    async readManifest(manifest, signal) {
      if (manifest.size > limits.manifestBytesMax) throw tooLarge(manifest);
      const range = { offset: 0, length: manifest.size, size: manifest.size };
      const source = objects.openRange(blobPath(manifest.digest), range, signal);
      return await collect(verified(source, manifest), manifest.size, `manifest from ${objects}`);
    },
    async referrers(repository, subject, artifactType, signal) {
      const listed = await list(subjectPath(repository, subject), signal);
      if (artifactType === undefined) return listed;
      return listed.filter((manifest) => manifest.artifactType === artifactType);
    },
    async tagged(repository, tag, signal) {
      return await list(tagPath(repository, tag), signal);
    },
    toString: () => objects.toString(),
  };
}

export function writableLayoutStore(objects: ObjectWriter): WritableStore & Partial<AdoptingStore> {
  const putBlob: WritableStore['putBlob'] = async (blob, open, signal) => {
    await objects.put(blobPath(blob.digest), blob.size, verified(open(0), blob), signal);
  };
  const putSmall = (path: string, bytes: Buffer, signal: AbortSignal) =>
    objects.put(path, bytes.length, bytesOf(bytes)(0), signal);
  return {
    ...layoutStore(objects),
    putBlob,
    ...(objects.adopt && {
      adoptFile: async (blob: Blob, file: string, signal: AbortSignal) =>
        (await objects.adopt?.(blobPath(blob.digest), blob.size, file, signal)) === true,
    }),
    hasBlob: (blob, signal) => objects.has(blobPath(blob.digest), blob.size, signal),
    async putManifest({ repository, subject, listed, bytes }, signal) {
      const path = subjectPath(repository, subject);
      await putBlob(listed, bytesOf(bytes), signal);
      const others = await othersListed(objects, path, listed, signal);
      await putSmall(path, encodeManifestList([...others, listed]), signal);
    },
    async putTag(repository, tag, index, signal) {
      await putSmall(tagPath(repository, tag), index, signal);
    },
  };
}

/** What is listed of another kind stays; a list that cannot be read is replaced. */
async function othersListed(
  objects: ObjectReader,
  path: string,
  { artifactType }: ListedManifest,
  signal: AbortSignal,
): Promise<ListedManifest[]> {
  try {
    const bytes = await objects.readSmall(path, limits.manifestBytesMax, signal);
    const listed = bytes ? parseManifestList(bytes) : [];
    return listed.filter((other) => other.artifactType !== artifactType);
  } catch (error) {
    if (isThinError(error, 'corrupt', 'invalid')) return [];
    throw error;
  }
}

function checkRange(blob: Blob, offset: number, length: number): void {
  const fits = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (!fits || offset < 0 || length < 0 || offset > blob.size - length) {
    throw new ThinError(
      'invalid',
      `Cannot read ${length} bytes at ${offset} of ${blob.digest}: it has ${blob.size}`,
    );
  }
}

function tooLarge(manifest: Blob): ThinError {
  return new ThinError(
    'invalid',
    `Cannot read manifest ${manifest.digest}: it has ${manifest.size} bytes ` +
      `(wanted at most ${limits.manifestBytesMax})`,
  );
}
