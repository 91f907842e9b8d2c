import { posix } from 'node:path';
import type { ImageFiles } from './image-files.js';
import { codeState, importsOfCode } from './python-code.js';
import { importsOfSource, type PythonImport } from './python-imports.js';

/** Modules of one program that are followed: large frameworks have some 2000. */
const modulesMax = 4096;
/** Names that are looked for, most of them again and again, and members of one import statement. */
const lookupsMax = 1_000_000;
const membersMax = 1024;
/** Bytes of a module that are read: larger ones are tables. */
const moduleBytesMax = 512 * 1024;
/** Modules that are read at a time, each of which may be a round trip. */
const readsAtATime = 8;

/** Where a module's code is. */
interface PythonModule {
  /** `a.b` */
  readonly name: string;
  /** Its file; a folder that is only a name for others has none. */
  readonly path: string | undefined;
  /** Where the modules in it are; undefined for one that is no package. */
  readonly folder: string | undefined;
}

/**
 * Finds the modules that are imported for others, by what stands at the top level of each. Every
 * module is told once, before it is read.
 */
export class PythonModules {
  readonly #files: ImageFiles;
  readonly #folders: readonly string[];
  /** Of byte code, such as `cpython-311`. */
  readonly #tag: string;
  readonly #onFile: (path: string) => void;
  readonly #found = new Map<string, PythonModule | undefined>();
  readonly #native = new Map<string, ReadonlyMap<string, string>>();
  readonly #main = new Set<string>();
  readonly #queue: PythonModule[] = [];
  #lookupsLeft = lookupsMax;

  /** @param folders as in `sys.path` */
  constructor(
    files: ImageFiles,
    folders: readonly string[],
    tag: string,
    onFile: (path: string) => void,
  ) {
    this.#files = files;
    this.#folders = folders;
    this.#tag = tag;
    this.#onFile = onFile;
  }

  /** Modules that are built into the interpreter, and need no file. */
  known(names: readonly string[]): void {
    for (const name of names) this.#found.set(name, undefined);
  }

  /**
   * @param main modules that are the program itself
   * @throws whatever the image's files throw when they are read
   */
  async follow(imports: readonly PythonImport[], main: readonly string[] = []): Promise<void> {
    for (const name of main) this.#main.add(name);
    for (const one of imports) this.#import(one, undefined);
    const work = new Set<Promise<void>>();
    while (this.#queue.length > 0 || work.size > 0) {
      for (const module of this.#queue.splice(0, readsAtATime - work.size)) {
        const read = this.#read(module).finally(() => work.delete(read));
        work.add(read);
      }
      await Promise.race(work);
    }
  }

  async #read(module: PythonModule): Promise<void> {
    const file = module.path === undefined ? undefined : this.#files.file(module.path);
    if (!file || module.path === undefined || file.size > moduleBytesMax) return;
    const bytes = await this.#files.read(file, 0, file.size);
    const isMain = this.#main.has(module.name);
    const isCode = module.path.endsWith('.pyc');
    if (isCode && this.#isStale(module.path, bytes)) this.#onFile(sourceOf(module.path));
    const imports = isCode
      ? importsOfCode(bytes, isMain)
      : importsOfSource(bytes.toString('latin1'), isMain);
    for (const one of imports ?? []) this.#import(one, module);
  }

  /** Byte code of another state of its source, which is read instead. */
  #isStale(path: string, code: Buffer): boolean {
    const source = this.#files.file(sourceOf(path));
    const state = source && codeState(code);
    if (!state) return false;
    return state === 'hashed' || state.seconds !== source.seconds || state.size !== source.size;
  }

  #import({ level, name, members }: PythonImport, importer: PythonModule | undefined): void {
    const base = level === 0 ? '' : packageOf(importer, level);
    if (base === undefined) return;
    const full = [base, name].filter((part) => part !== '').join('.');
    const found = full === '' ? undefined : this.#findWithParents(full);
    if (found?.folder === undefined) return;
    for (const member of members.slice(0, membersMax)) {
      if (/^\w+$/.test(member)) this.#find(`${full}.${member}`);
    }
  }

  /** Packages are imported before what is in them. */
  #findWithParents(name: string): PythonModule | undefined {
    const parts = name.split('.');
    let found: PythonModule | undefined;
    for (let at = 1; at <= parts.length; at++) {
      found = this.#find(parts.slice(0, at).join('.'));
      if (!found) return undefined;
    }
    return found;
  }

  /** The module, which is told and followed when it is found first. */
  #find(name: string): PythonModule | undefined {
    this.#lookupsLeft -= 1;
    if (this.#lookupsLeft < 0) return undefined;
    if (this.#found.has(name)) return this.#found.get(name);
    if (this.#found.size >= modulesMax) return undefined;
    const found = this.#locate(name);
    this.#found.set(name, found);
    if (found?.path === undefined) return found;
    this.#onFile(found.path);
    if (/\.pyc?$/.test(found.path)) this.#queue.push(found);
    return found;
  }

  #locate(name: string): PythonModule | undefined {
    const end = name.lastIndexOf('.');
    const parent = end < 0 ? undefined : this.#found.get(name.slice(0, end));
    const folders = end < 0 ? this.#folders : [parent?.folder ?? ''];
    const own = name.slice(end + 1);
    for (const folder of folders) {
      const found = folder === '' ? undefined : this.#locateIn(folder, name, own);
      if (found) return found;
    }
    const named = folders.find((folder) => this.#files.has(folder, own));
    return named ? { name, path: undefined, folder: posix.join(named, own) } : undefined;
  }

  #locateIn(folder: string, name: string, own: string): PythonModule | undefined {
    if (this.#files.has(folder, own)) {
      const inner = posix.join(folder, own);
      const path = this.#fileOf(inner, '__init__');
      if (path !== undefined) return { name, path, folder: inner };
    }
    const path = this.#fileOf(folder, own);
    return path === undefined ? undefined : { name, path, folder: undefined };
  }

  /** Native code comes first; of a source of which there is byte code only the place is looked at. */
  #fileOf(folder: string, stem: string): string | undefined {
    const has = (name: string) => this.#files.has(folder, name);
    const native = this.#nativeIn(folder).get(stem);
    if (native !== undefined) return posix.join(folder, native);
    const compiled = posix.join('__pycache__', `${stem}.${this.#tag}.pyc`);
    if (!has(`${stem}.py`))
      return has(`${stem}.pyc`) ? posix.join(folder, `${stem}.pyc`) : undefined;
    const [cache, code] = [posix.join(folder, '__pycache__'), posix.basename(compiled)];
    return posix.join(folder, this.#files.has(cache, code) ? compiled : `${stem}.py`);
  }

  /** Names of native modules in a folder, by what they are imported as. */
  #nativeIn(folder: string): ReadonlyMap<string, string> {
    const known = this.#native.get(folder);
    if (known) return known;
    const names = this.#files.names(folder).filter((name) => name.endsWith('.so'));
    const native = new Map<string, string>();
    for (const name of names) {
      const [stem = '', kind = ''] = name.split('.');
      if (kind === 'so' || kind === 'abi3' || kind.startsWith(`${this.#tag}-`))
        native.set(stem, name);
    }
    this.#native.set(folder, native);
    return native;
  }
}

/** Of `folder/__pycache__/name.cpython-311.pyc`: `folder/name.py`. */
function sourceOf(path: string): string {
  const [stem = ''] = posix.basename(path).split('.', 1);
  return posix.join(posix.dirname(posix.dirname(path)), `${stem}.py`);
}

/** The package that so many dots mean. */
function packageOf(importer: PythonModule | undefined, level: number): string | undefined {
  if (!importer) return undefined;
  const parts = importer.name.split('.');
  const up = importer.folder === undefined ? level : level - 1;
  return up >= parts.length ? undefined : parts.slice(0, parts.length - up).join('.');
}
