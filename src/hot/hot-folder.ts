import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestHex } from '../digest.js';
import { describeError, fromSystemError, isThinError } from '../errors.js';
import { type HotIndex, parseHotIndex } from '../thin/hot-index.js';
import {
  decodeHotList,
  encodeHotList,
  type HotList,
  type HotRun,
  hotListBytesMax,
  withRun,
} from './hot-list.js';

/** Lists that are kept on one node; the ones not changed for longest go. */
const listsMax = 1000;
const publishedSuffix = '.published.json';

export type HotStart = Omit<HotList, 'runs'>;

/** The hot lists of this node: one file for each image and command that was run. */
export class HotFolder {
  readonly #folder: string;
  /** Changes of a list happen one after the other. */
  #changes: Promise<unknown> = Promise.resolve();

  /** @param root of the node's state */
  constructor(root: string) {
    this.#folder = join(root, 'hot');
  }

  /** Undefined if there is none, or it cannot be read: it is recorded again. */
  async find({ image, args }: Pick<HotStart, 'image' | 'args'>): Promise<HotList | undefined> {
    return this.#read(join(this.#folder, nameOf(image, args)));
  }

  /** What was published of an image; undefined if nothing was, or it cannot be read. */
  async published(image: Digest): Promise<HotIndex | undefined> {
    try {
      const index = parseHotIndex(await readFile(this.#publishedPath(image)));
      return index.image === image ? index : undefined;
    } catch (error) {
      const failure = fromSystemError(`Cannot read what was published of ${image}`, error);
      if (isThinError(failure, 'not-found', 'corrupt', 'invalid')) return undefined;
      throw failure;
    }
  }

  /** Keeps what was published of an image, as it came. @throws ThinError `no-space`, `denied` */
  async keepPublished(image: Digest, bytes: Buffer): Promise<void> {
    await this.#write(`${digestHex(image)}${publishedSuffix}`, bytes);
  }

  #publishedPath(image: Digest): string {
    return join(this.#folder, `${digestHex(image)}${publishedSuffix}`);
  }

  /** All lists of an image. */
  async of(image: Digest): Promise<HotList[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const own = names.filter((name) => name.startsWith(`${digestHex(image)}-`));
    const lists = await Promise.all(own.map((name) => this.#read(join(this.#folder, name))));
    return lists.filter((list) => list !== undefined);
  }

  /** @throws ThinError `no-space`, `denied`, `unavailable` */
  async add(start: HotStart, run: HotRun): Promise<void> {
    const adding = this.#changes.then(async () => {
      const list = (await this.find(start)) ?? { ...start, runs: [] };
      await this.#write(nameOf(start.image, start.args), encodeHotList(withRun(list, run)));
    });
    this.#changes = adding.catch(() => {});
    await adding;
  }

  /** Adds the runs of lists that were recorded elsewhere. @throws as {@link add} */
  async import(lists: readonly HotList[]): Promise<void> {
    for (const { runs, ...start } of lists) for (const run of runs) await this.add(start, run);
  }

  async #read(path: string): Promise<HotList | undefined> {
    try {
      if ((await stat(path)).size > hotListBytesMax) return undefined;
      return decodeHotList(await readFile(path));
    } catch (error) {
      const failure = fromSystemError(`Cannot read ${path}`, error);
      if (isThinError(failure, 'not-found', 'corrupt', 'invalid')) return undefined;
      throw failure;
    }
  }

  async #write(name: string, bytes: Buffer): Promise<void> {
    const path = join(this.#folder, name);
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await writeFile(`${path}.new`, bytes, { mode: 0o600 });
      await rename(`${path}.new`, path);
      await this.#prune();
    } catch (error) {
      throw fromSystemError(`Cannot keep hot list ${path}: ${describeError(error)}`, error);
    }
  }

  async #prune(): Promise<void> {
    const names = await readdir(this.#folder);
    if (names.length <= listsMax) return;
    const dated = await Promise.all(
      names.map(async (name) => ({ name, at: (await stat(join(this.#folder, name))).mtimeMs })),
    );
    dated.sort((a, b) => b.at - a.at);
    for (const { name } of dated.slice(listsMax)) await rm(join(this.#folder, name));
  }
}

function nameOf(image: Digest, args: readonly string[]): string {
  const command = createHash('sha256').update(JSON.stringify(args)).digest('hex').slice(0, 16);
  return `${digestHex(image)}-${command}.json`;
}
