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

/** Up to here a file is expected to be read whole. */
const wholeBytesMax = 1024 * 1024;

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
 * Ranges in the order in which they are likely to be read, each file once.
 * @throws whatever the image's files throw when they are read
 */
export async function guessHotRanges(files: ImageFiles, start: CommandStart): Promise<HotRange[]> {
  const ranges = new RangeList();
  const search = new LibrarySearch(files, variable(start.env, 'LD_LIBRARY_PATH') ?? '');
  for (const command of commandLines(start)) {
    const { scripts, program } = await resolveCommand(files, { ...start, args: command });
    for (const script of scripts) await addProgram(files, search, script, ranges);
    if (!program) continue;
    await addProgram(files, search, program, ranges);
    for (const path of await interpreterFiles(files, program, start.env)) {
      await addPath(files, search, path, ranges);
    }
  }
  return ranges.list;
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

/** Collects ranges; a file that is there already is not added again. */
class RangeList {
  readonly list: HotRange[] = [];
  readonly #seen = new Set<Digest>();

  addFile(file: ImageFile | undefined): void {
    if (!file || this.#isKnown(file)) return;
    const { content, size } = file;
    this.list.push({ content, size, offset: 0, length: Math.min(size, wholeBytesMax) });
  }

  addObject({ file, object }: LoadedObject): void {
    if (file.size <= wholeBytesMax) {
      this.addFile(file);
      return;
    }
    if (this.#isKnown(file)) return;
    const { content, size } = file;
    for (const { offset, length } of object.start) {
      if (offset >= size) continue;
      this.list.push({ content, size, offset, length: Math.min(length, size - offset) });
    }
  }

  #isKnown({ content }: ImageFile): boolean {
    if (this.#seen.has(content)) return true;
    this.#seen.add(content);
    return false;
  }
}
