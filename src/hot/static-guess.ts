/*
 * What a container will read before it is ready, guessed from its image alone: the program, its
 * dynamic linker and libraries, its script interpreter, and the usual start-up files. It stands in
 * until a run was recorded.
 */
import type { Digest } from '../digest.js';
import { type CommandStart, type Program, resolveCommand, variable } from './command-files.js';
import type { ByteRange } from './elf.js';
import type { ImageFile, ImageFiles } from './image-files.js';
import { interpreterFiles } from './interpreter-files.js';
import { LibrarySearch, type LoadedObject } from './needed-libraries.js';

/** Ranges of a file that are expected to be read early. */
export interface HotRange extends ByteRange {
  readonly content: Digest;
  /** Bytes of the whole file. */
  readonly size: number;
}

/** Up to here a file is expected to be read whole: nearly all libraries of this size were, larger ones not. */
const wholeBytesMax = 8 * 1024 * 1024;
/** Bytes at the start of any large file: headers, and what the kernel reads with them. */
const headBytes = 65_536;

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
  for (const command of commandLines(start)) {
    const { scripts, program } = await resolveCommand(files, { ...start, args: command });
    for (const script of scripts) await addProgram(files, search, script, ranges);
    if (!program) continue;
    await addProgram(files, search, program, ranges);
    for (const path of await interpreterFiles(files, program, start)) {
      await addPath(files, search, path, ranges);
    }
  }
}

/** The command, and those that it is likely to start: `entrypoint.sh program …`, `sh -c program`. */
function commandLines({ args }: CommandStart): string[][] {
  const lines = [[...args]];
  const shell = args.indexOf('-c');
  const text = shell > 0 ? args[shell + 1] : undefined;
  if (text !== undefined) lines.push(firstCommand(text));
  for (let at = 1; at < args.length && at <= nestedMax; at++) {
    if (!args[at]?.startsWith('-')) lines.push(args.slice(at));
  }
  return lines;
}

/** Arguments that are tried as a command of their own. */
const nestedMax = 4;

function firstCommand(text: string): string[] {
  const words = (text.split(/[;&|\n]/, 1)[0] ?? '').trim().split(/\s+/);
  return words[0] === 'exec' ? words.slice(1) : words;
}

async function addProgram(
  files: ImageFiles,
  search: LibrarySearch,
  { path, file }: Program,
  ranges: RangeList,
): Promise<void> {
  const loaded = await search.load(path);
  if (!loaded) {
    ranges.addFile(file);
    return;
  }
  ranges.addObject(loaded);
  const interpreter = loaded.object.interpreter;
  const linker = interpreter === undefined ? undefined : await search.load(interpreter);
  if (linker) ranges.addObject(linker);
  for (const system of systemFiles) ranges.addFile(files.file(system));
  for (const library of await search.neededBy(loaded)) ranges.addObject(library);
}

async function addPath(
  files: ImageFiles,
  search: LibrarySearch,
  path: string,
  ranges: RangeList,
): Promise<void> {
  const file = files.file(path);
  if (!file) return;
  const loaded = /\.so(\.|$)/.test(path) ? await search.load(path) : undefined;
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
  /** Files of which the head, or all, was told; and objects that were told. */
  readonly #heads = new Set<Digest>();
  readonly #objects = new Set<Digest>();

  constructor(onRange: (range: HotRange) => void) {
    this.#onRange = onRange;
  }

  /** All of a small file; of a large one, as much as is read of any. */
  addHead(file: ImageFile): void {
    this.#add(file, file.size <= wholeBytesMax ? file.size : headBytes);
  }

  addFile(file: ImageFile | undefined): void {
    if (file) this.#add(file, Math.min(file.size, wholeBytesMax));
  }

  addObject({ file, object }: LoadedObject): void {
    this.addHead(file);
    const { content, size } = file;
    if (size <= wholeBytesMax || this.#objects.has(content)) return;
    this.#objects.add(content);
    for (const { offset, length } of object.start) {
      if (offset >= size) continue;
      this.#onRange({ content, size, offset, length: Math.min(length, size - offset) });
    }
  }

  #add({ content, size }: ImageFile, length: number): void {
    if (this.#heads.has(content)) return;
    this.#heads.add(content);
    this.#onRange({ content, size, offset: 0, length });
  }
}
