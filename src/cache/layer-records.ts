import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { digestHex, digestOf, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { LayerSummary } from '../layer/read-layer.js';

/** Bytes of records on a node; those used last stay. 60 000 files take 3 MB. */
const recordBytesMax = 512 * 1024 * 1024;
const draftPrefix = '.draft-';

/** Where a node keeps them. @param root of the node */
export function layerRecordsFolder(root: string): string {
  return join(root, 'layers');
}

/**
 * The records of layers that were pulled (layer-record-format.ts), by diff ID: what is needed to make
 * another image of the same layers without downloading them. Safe to delete.
 */
export class LayerRecords {
  readonly #folder: string;
  #drafts = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Makes the folder, and removes what was not finished, and what is too much. */
  static async open(folder: string): Promise<LayerRecords> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const found: { path: string; size: number; used: number }[] = [];
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      if (name.startsWith(draftPrefix)) {
        await rm(path, { force: true });
        continue;
      }
      const { size, mtimeMs } = await stat(path);
      found.push({ path, size, used: mtimeMs });
    }
    let total = 0;
    for (const { path, size } of found.sort((a, b) => b.used - a.used)) {
      total += size;
      if (total > recordBytesMax) await rm(path, { force: true });
    }
    return new LayerRecords(folder);
  }

  /** @see layerRecordPath */
  path(diffId: string): string {
    return layerRecordPath(this.#folder, diffId);
  }

  /** For a record that is being written. */
  draftPath(): string {
    this.#drafts += 1;
    return join(this.#folder, `${draftPrefix}${process.pid}-${this.#drafts}`);
  }

  /** True if there is one, which may be damaged; it counts as used now. */
  async has(diffId: string): Promise<boolean> {
    const now = new Date();
    return utimes(this.path(diffId), now, now).then(
      () => true,
      () => false,
    );
  }

  async remove(diffId: string): Promise<void> {
    await rm(this.path(diffId), { force: true });
  }
}

/** @throws ThinError `corrupt` if a record is that of another layer */
export function checkRecord({ diffId }: LayerSummary, wanted: string): void {
  if (!isDigest(wanted) || diffId === wanted) return;
  throw new ThinError('corrupt', `Cannot use layer record: it is of ${diffId} (wanted ${wanted})`);
}

/** Where the record of a layer is or would be. @param diffId as the image's config has it */
export function layerRecordPath(folder: string, diffId: string): string {
  // Another algorithm's digest becomes a name of the same form.
  const name = isDigest(diffId) ? diffId : digestOf(Buffer.from(diffId));
  return join(folder, digestHex(name));
}
