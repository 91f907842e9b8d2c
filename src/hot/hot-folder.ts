import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RootLock } from '../cache/root-lock.js';
import { type Digest, digestHex } from '../digest.js';
import { describeError, fromSystemError, isThinError } from '../errors.js';
import { type HotIndex, parseHotIndex } from '../thin/hot-index.js';
import {
  decodeHotList,
  encodeHotList,
  type HotList,
  type HotRun,
  hotListBytesMax,
  withRuns,
} from './hot-list.js';

/** Lists that are kept on one node; the ones not changed for longest go. */
const listsMax = 1000;
/** Lists of one image that are looked at: the ones changed last. */
const listsOfImageMax = 64;
const suffix = '.json';
const publishedSuffix = `.published${suffix}`;
/** A file on its way to its name, which is before the process id. */
const temporaryName = /\.json\.[0-9]+\.[0-9a-f-]{36}$/;
/** Milliseconds after which whoever wrote it is gone: it is written at once. */
const temporaryMs = 60 * 60_000;
/** Milliseconds between two looks for the lock, and in all; it is held for one list at a time. */
const lockPollMs = 10;
const lockTimeoutMs = 30_000;

export type HotStart = Omit<HotList, 'runs'>;

/** The hot lists of this node: one file for each image and command that was run. */
export class HotFolder {
  readonly #folder: string;
  /** Changes of a list happen one after the other, also those of other processes. */
  #changes: Promise<unknown> = Promise.resolve();
  /** What was kept last, until it is asked for: the first start of an image need not read it again. */
  #justKept: HotIndex | undefined;

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
    const kept = this.#justKept;
    if (kept?.image === image) {
      this.#justKept = undefined;
      return kept;
    }
    try {
      const index = parseHotIndex(await readFile(this.#publishedPath(image)));
      return index.image === image ? index : undefined;
    } catch (error) {
      const failure = fromSystemError(`Cannot read what was published of ${image}`, error);
      if (isThinError(failure, 'not-found', 'corrupt', 'invalid')) return undefined;
      throw failure;
    }
  }

  /**
   * Keeps what was published of an image, as it came.
   * @param index what the bytes say, for who asks for it next
   * @throws ThinError `no-space`, `denied`
   */
  async keepPublished(bytes: Buffer, index: HotIndex): Promise<void> {
    await this.#write(`${digestHex(index.image)}${publishedSuffix}`, bytes);
    this.#justKept = index;
  }

  #publishedPath(image: Digest): string {
    return join(this.#folder, `${digestHex(image)}${publishedSuffix}`);
  }

  /** The lists of an image, the one changed last at the end. */
  async of(image: Digest): Promise<HotList[]> {
    const own = (await this.#dated()).filter(({ name }) => name.startsWith(`${digestHex(image)}-`));
    const paths = own.slice(-listsOfImageMax).map(({ name }) => join(this.#folder, name));
    const lists = await Promise.all(paths.map((path) => this.#read(path)));
    return lists.filter((list) => list !== undefined);
  }

  /** Milliseconds since 1970 of the last change of any list; 0 if there was none. */
  async changedAt(): Promise<number> {
    return (await this.#dated()).at(-1)?.at ?? 0;
  }

  /** @throws ThinError `no-space`, `denied`, `unavailable`; `busy` if another process does not end */
  async add(start: HotStart, ...runs: readonly HotRun[]): Promise<void> {
    const adding = this.#changes.then(async () => {
      using _lock = await this.#lock();
      const list = (await this.find(start)) ?? { ...start, runs: [] };
      await this.#write(nameOf(start.image, start.args), encodeHotList(withRuns(list, runs)));
    });
    this.#changes = adding.catch(() => {});
    await adding;
  }

  /** Adds the runs of lists that were recorded elsewhere, each once. @throws as {@link add} */
  async import(lists: readonly HotList[]): Promise<void> {
    for (const { runs, ...start } of lists) await this.add(start, ...runs);
  }

  /** Whoever runs `thin hot import` is another process than the daemon. */
  async #lock(): Promise<Disposable> {
    await this.#make();
    const directory = this.#folder;
    const place = {
      directory,
      lock: join(directory, 'lock'),
      owner: join(directory, 'lock.owner'),
    };
    const deadline = performance.now() + lockTimeoutMs;
    for (;;) {
      try {
        return RootLock.take([place]);
      } catch (error) {
        if (!isThinError(error, 'busy') || performance.now() > deadline) throw error;
      }
      await delay(lockPollMs);
    }
  }

  async #make(): Promise<void> {
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw fromSystemError(`Cannot keep hot lists in ${this.#folder}`, error);
    }
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
    const fresh = `${path}.${process.pid}.${randomUUID()}`;
    await this.#make();
    try {
      await writeFile(fresh, bytes, { mode: 0o600 });
      await rename(fresh, path);
      await this.#prune();
    } catch (error) {
      await rm(fresh, { force: true });
      throw fromSystemError(`Cannot keep hot list ${path}: ${describeError(error)}`, error);
    }
  }

  /** Removes the lists that are too many, and what was left of one by a process that was killed. */
  async #prune(): Promise<void> {
    const lists = await this.#dated();
    const temporary = await this.#dated((name) => temporaryName.test(name));
    const left = temporary.filter(({ at }) => Date.now() - at > temporaryMs);
    for (const { name } of [...lists.slice(0, -listsMax), ...left]) {
      await rm(join(this.#folder, name), { force: true });
    }
  }

  /** What is kept, the one changed last at the end. */
  async #dated(
    isWanted = (name: string) => name.endsWith(suffix),
  ): Promise<{ readonly name: string; readonly at: number }[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const kept = names.filter((name) => isWanted(name));
    const dated = await Promise.all(
      kept.map(async (name) => {
        const at = (await stat(join(this.#folder, name)).catch(() => undefined))?.mtimeMs;
        return at === undefined ? [] : [{ name, at }]; // another process has removed it
      }),
    );
    return dated.flat().sort((a, b) => a.at - b.at);
  }
}

function nameOf(image: Digest, args: readonly string[]): string {
  const command = createHash('sha256').update(JSON.stringify(args)).digest('hex').slice(0, 16);
  return `${digestHex(image)}-${command}.json`;
}
