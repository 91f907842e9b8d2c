import { randomBytes } from 'node:crypto';
import { link, mkdir, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mapBounded } from '../cache/bounded.js';
import { fanOut, hexName } from '../cache/layout.js';
import type { FileName, TierImage, TierState } from './tier-plan.js';

/*
 * Which files of a shared tier belong to which image: `.images/<hex of the manifest's digest>` in it,
 *
 *   | 0  | 16 | `thinfs-files 1\n\0`
 *   | 16 | 40 | of each file: its SHA-256 (32), its bytes (8, little-endian)
 *
 * written by the first node that mounts the image, and removed with the last of its files. A node that Redis
 * does not hear writes `.in-use/<hex>` again and again while it has the image mounted.
 */
const head = Buffer.from('thinfs-files 1\n\0');
const recordBytes = 40;
/** Folders and files that are looked at together. */
const looksInFlight = 8;
/** Milliseconds after which a file of no image is nobody's, and an image that nobody uses is not new. */
const orphanMs = 3_600_000;

/** Milliseconds for which such a file says that the image is in use. */
const markedMs = 900_000;

/** Bytes of a list. */
export function packList(files: Iterable<{ readonly hex: string; readonly size: number }>): Buffer {
  const records = [head];
  for (const { hex, size } of files) {
    const record = Buffer.alloc(recordBytes);
    record.write(hex, 'hex');
    record.writeBigUInt64LE(BigInt(size), 32);
    records.push(record);
  }
  return Buffer.concat(records);
}

/** Undefined for what is none, or torn. */
function parseList(bytes: Buffer): Map<FileName, number> | undefined {
  if (!bytes.subarray(0, head.length).equals(head)) return undefined;
  if ((bytes.length - head.length) % recordBytes !== 0) return undefined;
  const files = new Map<FileName, number>();
  for (let at = head.length; at < bytes.length; at += recordBytes) {
    files.set(bytes.toString('hex', at, at + 32), Number(bytes.readBigUInt64LE(at + 32)));
  }
  return files;
}

/** What is known of the images' use: see image-uses.ts. */
export type KnownUse = Pick<TierImage, 'image' | 'idleMs' | 'times' | 'inUse'>;

/** The lists of one shared tier, on its file system. */
export class TierLists {
  readonly #directory: string;
  readonly #folder: string;
  readonly #marks: string;

  constructor(directory: string) {
    this.#directory = directory;
    this.#folder = join(directory, '.images');
    this.#marks = join(directory, '.in-use');
  }

  async has(image: string): Promise<boolean> {
    return (await stat(this.#path(image)).catch(unlessAbsent)) !== undefined;
  }

  async write(image: string, list: Uint8Array): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const written = join(this.#directory, '.incoming', randomBytes(8).toString('hex'));
    await writeFile(written, list, { mode: 0o644, flag: 'wx' });
    try {
      await link(written, this.#path(image)).catch(unlessThere);
    } finally {
      await unlink(written);
    }
  }

  async remove(image: string): Promise<void> {
    await unlink(this.#path(image)).catch(unlessAbsent);
  }

  /** These are in use now, which nobody hears otherwise. */
  async mark(images: readonly string[]): Promise<void> {
    await mkdir(this.#marks, { recursive: true, mode: 0o700 });
    const failures: unknown[] = [];
    await mapBounded(images, looksInFlight, async (image) => {
      const mark = writeFile(join(this.#marks, hexOf(image)), '1');
      await mark.catch((error: unknown) => failures.push(error)); // it stops no other
    });
    if (failures.length > 0) throw failures[0];
  }

  /** @param now on the clock of the file system */
  async #marked(now: number): Promise<Set<string>> {
    const marked = new Set<string>();
    for (const hex of await namesIn(this.#marks)) {
      const path = join(this.#marks, hex);
      const { mtimeMs } = (await stat(path).catch(unlessAbsent)) ?? { mtimeMs: 0 };
      if (now - mtimeMs < markedMs) marked.add(`sha256:${hex}`);
      else await removeIfFile(path);
    }
    return marked;
  }

  /** All that is there. @param uses of the images that somebody uses or has used */
  async survey(uses: readonly KnownUse[]): Promise<TierState> {
    const known = new Map(uses.map((use) => [use.image, use]));
    const sizes = new Map<FileName, number>();
    const images: TierImage[] = [];
    const now = await this.#now();
    const marked = await this.#marked(now);
    for (const hex of await namesIn(this.#folder)) {
      const path = join(this.#folder, hex);
      const found = await stat(path).catch(unlessAbsent);
      const bytes = found?.isFile() ? await readFile(path).catch(unlessAbsent) : undefined;
      const list = bytes && parseList(bytes);
      if (!found || !list) {
        await removeIfFile(path); // the next node that mounts it writes it again
        continue;
      }
      for (const [file, size] of list) sizes.set(file, size);
      const image = `sha256:${hex}`;
      // Who has written it just now may not have been able to tell that it uses it.
      const unknown = { idleMs: Infinity, times: 1, inUse: now - found.mtimeMs < orphanMs };
      const use = known.get(image) ?? unknown;
      const inUse = use.inUse || marked.has(image);
      images.push({ ...use, inUse, image, files: [...list.keys()] });
    }
    const files = new Map<FileName, number>();
    const orphans: FileName[] = [];
    await mapBounded(fanOut, looksInFlight, async (xx) => {
      for (const name of await filesIn(join(this.#directory, xx))) {
        const size = sizes.get(name);
        if (size !== undefined) files.set(name, size);
        else await this.#addOrphan(xx, name, now, files, orphans);
      }
    });
    return { files, images, orphans };
  }

  async #addOrphan(
    xx: string,
    name: string,
    now: number,
    files: Map<FileName, number>,
    orphans: FileName[],
  ): Promise<void> {
    const found = await stat(join(this.#directory, xx, name)).catch(unlessAbsent);
    if (!found) return;
    files.set(name, found.size);
    if (now - found.mtimeMs > orphanMs) orphans.push(name);
  }

  /** Milliseconds on the clock of the file system. */
  async #now(): Promise<number> {
    const probe = join(this.#directory, '.incoming', randomBytes(8).toString('hex'));
    await writeFile(probe, '', { flag: 'wx' });
    const { mtimeMs } = await stat(probe);
    await unlink(probe);
    return mtimeMs;
  }

  #path(image: string): string {
    return join(this.#folder, hexOf(image));
  }
}

/** Other names are none of ours, and stay. */
async function namesIn(folder: string): Promise<string[]> {
  const names = (await readdir(folder).catch(unlessAbsent)) ?? [];
  return names.filter((name) => hexName.test(name));
}

/** Without what only has the name of one: nobody removes that. */
async function filesIn(folder: string): Promise<string[]> {
  const entries = (await readdir(folder, { withFileTypes: true }).catch(unlessAbsent)) ?? [];
  return entries
    .filter((entry) => entry.isFile() && hexName.test(entry.name))
    .map(({ name }) => name);
}

/** What cannot be removed is left, and stops nothing. */
async function removeIfFile(path: string): Promise<void> {
  await unlink(path).catch(() => undefined);
}

function hexOf(image: string): string {
  return image.replace('sha256:', '');
}

function unlessIs(code: string): (error: unknown) => undefined {
  return (error) => {
    if (!(error instanceof Error && 'code' in error && error.code === code)) throw error;
  };
}

/** For what may be missing, or made by another at the same moment. */
export const unlessAbsent = unlessIs('ENOENT');
export const unlessThere = unlessIs('EEXIST');
