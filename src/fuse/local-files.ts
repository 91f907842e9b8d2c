import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { tierPath } from '../cache/layout.js';
import type { Digest } from '../digest.js';
import { DescriptorCache } from './descriptor-cache.js';
import type { FileContent } from './namespace.js';
import { readFully } from './read-fully.js';

/** Descriptors one thread keeps open; a process has 1024 by default, and several threads. */
const openFilesMax = 128;

/** Reads files that are complete in a tier: `<tier>/xx/<digest>`, in the order of the tiers. */
export class LocalFiles {
  readonly #tiers: readonly string[];
  readonly #onFirstUse: (content: Digest) => void;
  readonly #descriptors = new DescriptorCache<Digest>(openFilesMax);

  /** @param onFirstUse called when a file is opened here, again after it was closed for others */
  constructor(tiers: readonly string[], onFirstUse: (content: Digest) => void) {
    this.#tiers = tiers;
    this.#onFirstUse = onFirstUse;
  }

  /** Fills `target` from `offset` of the file. False if the file is in no tier, whole. */
  read(file: FileContent, offset: number, target: Buffer): boolean {
    const descriptor = this.#descriptors.get(file.content) ?? this.#open(file);
    if (descriptor === undefined) return false;
    if (readFully(descriptor, offset, target)) return true;
    this.#descriptors.delete(file.content);
    return false;
  }

  /** Closes all files; what is read after that is opened again. */
  close(): void {
    this.#descriptors.clear();
  }

  #open(file: FileContent): number | undefined {
    for (const tier of this.#tiers) {
      const descriptor = openWhole(tierPath(tier, file.content), file.size);
      if (descriptor === undefined) continue;
      this.#descriptors.set(file.content, descriptor);
      this.#onFirstUse(file.content);
      return descriptor;
    }
    return undefined;
  }
}

/** A file of the wrong size is as good as none: whoever fetches it anew notices and replaces it. */
function openWhole(path: string, size: number): number | undefined {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const found = fstatSync(descriptor);
    if (found.isFile() && found.size === size) return descriptor;
  } catch {
    // Not here, or a disk that fails (ESTALE of a tier on NFS): the bytes may still be had from the store.
  }
  if (descriptor !== undefined) closeSync(descriptor);
  return undefined;
}
