/*
 * What a container will read before it is ready, guessed from its image alone: the program, its
 * dynamic linker and libraries, its script interpreter, and the usual start-up files. It stands in
 * until a run was recorded.
 */
import type { Digest } from '../digest.js';
import { type CommandStart, type Program, variable } from './command-files.js';
import type { ByteRange } from './elf.js';
import type { ImageFile, ImageFiles } from './image-files.js';
import { interpreterFiles } from './interpreter-files.js';
import { localeFiles } from './locale-files.js';
import { LibrarySearch, type LoadedObject } from './needed-libraries.js';
import { startedPrograms } from './started-programs.js';

/** Ranges of a file that are expected to be read early. */
export interface HotRange extends ByteRange {
  readonly content: Digest;
  /** Bytes of the whole file. */
  readonly size: number;
}

/** Up to here a file is expected to be read whole: nearly all libraries of this size were, larger ones not. */
const wholeBytesMax = 8 * 1024 * 1024;
/** Of larger libraries half is read: what is not needed to load them comes behind all else. Bytes. */
const atOnceBytesMax = 2 * 1024 * 1024;
/** The same of a program itself: a server has some 10 MB. */
const programBytesMax = 16 * 1024 * 1024;
/** Bytes at the start of any large file: headers, and what the kernel reads with them. */
const headBytes = 65_536;

/** Programs that are looked into at a time: the first are the likeliest. */
const programsAtATime = 4;

/** What the C library reads for almost every program. */
const systemFiles = [
  '/etc/ld.so.preload',
  '/etc/ld.so.cache',
  '/etc/nsswitch.conf',
  '/etc/passwd',
  '/etc/group',
  '/etc/localtime',
];

/**
 * Ranges in about the order in which they are read, each told as soon as it is known: to know more,
 * parts of them are read, which may have a long way.
 * @throws whatever the image's files throw when they are read
 */
export async function guessHotRanges(
  files: ImageFiles,
  start: CommandStart,
  onRange: (range: HotRange) => void,
): Promise<void> {
  const ranges = new RangeList(onRange);
  const libraryPath = variable(start.env, 'LD_LIBRARY_PATH') ?? '';
  const search = new LibrarySearch(files, libraryPath, (file) => ranges.addHead(file));
  const system = [...systemFiles, ...localeFiles(files, start.env)];
  const known = new Set<string>();
  const all = new WorkList();
  const turns: Promise<void>[] = [];
  for await (const { scripts, program } of startedPrograms(files, start)) {
    const found = program ? [...scripts, program] : scripts;
    const fresh = found.filter(({ path }) => !known.has(path));
    for (const { path } of fresh) known.add(path);
    const work = new WorkList();
    for (const one of fresh) work.add(addProgram(files, search, one, ranges, system));
    const onPath = (path: string) => work.add(addPath(files, search, path, ranges));
    for (const one of found) work.add(interpreterFiles(files, one, start, onPath));
    turns.push(all.add(work.done()));
    await turns[turns.length - programsAtATime];
  }
  await all.done();
  ranges.addLater();
}

/** Work that may fail before anybody waits for it. */
class WorkList {
  readonly #works: Promise<void>[] = [];
  readonly #failures: unknown[] = [];

  /** @returns when it has ended, however it did */
  add(work: Promise<void>): Promise<void> {
    const ended = work.catch((error: unknown) => void this.#failures.push(error));
    this.#works.push(ended);
    return ended;
  }

  /** Waits for all, those too that are added meanwhile. @throws the first failure */
  async done(): Promise<void> {
    for (let at = 0; at < this.#works.length; at++) await this.#works[at];
    if (this.#failures.length > 0) throw this.#failures[0];
  }
}

async function addProgram(
  files: ImageFiles,
  search: LibrarySearch,
  { path, file }: Program,
  ranges: RangeList,
  system: readonly string[],
): Promise<void> {
  if (file.size <= wholeBytesMax) ranges.addFile(file);
  const loaded = await search.load(path);
  if (!loaded) {
    ranges.addFile(file);
    return;
  }
  ranges.addObject(loaded);
  const interpreter = loaded.object.interpreter;
  const linker = interpreter === undefined ? undefined : await search.load(interpreter);
  if (linker) ranges.addObject(linker);
  for (const name of system) ranges.addFile(files.file(name));
  for (const library of await search.neededBy(loaded)) ranges.addObject(library);
  if (file.size <= programBytesMax) ranges.addWhole(file);
}

async function addPath(
  files: ImageFiles,
  search: LibrarySearch,
  path: string,
  ranges: RangeList,
): Promise<void> {
  const file = files.file(path);
  if (!file) return;
  const isObject = file.executable || /\.so(\.|$)/.test(path);
  const loaded = isObject ? await search.load(path) : undefined;
  if (!loaded) {
    ranges.addFile(file);
    return;
  }
  ranges.addObject(loaded);
  for (const library of await search.neededBy(loaded)) ranges.addObject(library);
}

/** Hands on each range once. */
class RangeList {
  readonly #onRange: (range: HotRange) => void;
  /** Bytes at the start of files that were told; and objects that were told. */
  readonly #told = new Map<Digest, number>();
  readonly #objects = new Set<Digest>();
  readonly #later: HotRange[] = [];

  constructor(onRange: (range: HotRange) => void) {
    this.#onRange = onRange;
  }

  /** All of a small file; of a larger one, as much as is read of any. */
  addHead(file: ImageFile): void {
    this.#add(file, file.size <= atOnceBytesMax ? file.size : headBytes);
  }

  addFile(file: ImageFile | undefined): void {
    if (file) this.#add(file, Math.min(file.size, wholeBytesMax));
  }

  addObject({ file, object }: LoadedObject): void {
    this.addHead(file);
    const { content, size } = file;
    if ((this.#told.get(content) ?? 0) >= size || this.#objects.has(content)) return;
    this.#objects.add(content);
    for (const { offset, length } of object.start) {
      if (offset >= size) continue;
      this.#onRange({ content, size, offset, length: Math.min(length, size - offset) });
    }
    if (size <= wholeBytesMax) this.#later.push({ content, size, offset: 0, length: size });
  }

  addWhole(file: ImageFile): void {
    this.#add(file, file.size);
  }

  /** What may wait until all else was told. */
  addLater(): void {
    for (const range of this.#later.splice(0)) this.#onRange(range);
  }

  #add({ content, size }: ImageFile, length: number): void {
    if ((this.#told.get(content) ?? 0) >= length) return;
    this.#told.set(content, length);
    this.#onRange({ content, size, offset: 0, length });
  }
}
