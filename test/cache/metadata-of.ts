import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FileRef } from '../../src/cache/file-origin.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { directory, file } from '../metadata/tree-builders.js';

/** The metadata image of a tree that has these files. @param folder where it is put @returns its path */
export function metadataOf(folder: string, files: Iterable<FileRef>): string {
  const path = join(folder, 'metadata.erofs');
  const nodes = [...files].map((ref, at) => [`${at}`, { ...file(), ...ref }]);
  writeFileSync(path, writeErofs(directory({ some: directory(Object.fromEntries(nodes)) })));
  return path;
}
