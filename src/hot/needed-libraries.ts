import { posix } from 'node:path';
import { type DynamicObject, readDynamicObject } from './elf.js';
import type { ImageFile, ImageFiles } from './image-files.js';
import { parseLibraryCache } from './library-cache.js';

/** Libraries of one program that are followed: a browser has some 200. */
const librariesMax = 512;
/** Libraries of one program that are looked for, found or not. */
const searchesMax = 4096;
/** Folders of LD_LIBRARY_PATH. */
const environmentFoldersMax = 64;
/** Bytes of /etc/ld.so.cache that are read. */
const cacheBytesMax = 4 * 1024 * 1024;
const cachePath = '/etc/ld.so.cache';

/** A program or library, found in an image. */
export interface LoadedObject {
  readonly path: string;
  readonly file: ImageFile;
  readonly object: DynamicObject;
}

/**
 * Finds libraries as the dynamic linker does: RPATH, LD_LIBRARY_PATH, RUNPATH, ld.so.cache, the
 * usual directories.
 * @see https://man7.org/linux/man-pages/man8/ld.so.8.html
 */
export class LibrarySearch {
  readonly #files: ImageFiles;
  readonly #environmentPath: readonly string[];
  readonly #onFound: (file: ImageFile) => void;
  #cache: Promise<Map<string, string[]>> | undefined;

  /**
   * @param libraryPath value of LD_LIBRARY_PATH
   * @param onFound told of each file before it is read
   */
  constructor(files: ImageFiles, libraryPath: string, onFound: (file: ImageFile) => void) {
    this.#files = files;
    this.#onFound = onFound;
    const folders = libraryPath.split(/[:;]/, environmentFoldersMax);
    this.#environmentPath = folders.filter((path) => path !== '');
  }

  /** An object at a path; undefined if there is none. */
  async load(path: string): Promise<LoadedObject | undefined> {
    const file = this.#files.file(path);
    if (!file) return undefined;
    this.#onFound(file);
    const read = (offset: number, length: number) => this.#files.read(file, offset, length);
    const object = await readDynamicObject(read);
    return object && { path, file, object };
  }

  /**
   * All that a program needs, directly or not, in the order in which it is loaded. Those of one level
   * are read together: over a link, each level costs the time of one.
   */
  async neededBy(program: LoadedObject): Promise<LoadedObject[]> {
    const seen = new Set<string>();
    const loaded: LoadedObject[] = [];
    let level = [program];
    while (level.length > 0 && loaded.length < librariesMax) {
      const wanted: { name: string; user: LoadedObject }[] = [];
      for (const user of level) {
        for (const name of user.object.needed) {
          if (name === '' || seen.has(name) || seen.size >= searchesMax) continue;
          seen.add(name);
          wanted.push({ name, user });
        }
      }
      const found = await Promise.all(
        wanted.map(({ name, user }) => this.#find(name, user, program)),
      );
      level = found.filter((library) => library !== undefined);
      loaded.push(...level);
    }
    return loaded.slice(0, librariesMax);
  }

  async #find(
    name: string,
    user: LoadedObject,
    program: LoadedObject,
  ): Promise<LoadedObject | undefined> {
    for (const path of await this.#candidates(name, user, program)) {
      const found = await this.load(path);
      if (found?.object.kind === program.object.kind) return found;
    }
    return undefined;
  }

  async #candidates(name: string, user: LoadedObject, program: LoadedObject): Promise<string[]> {
    if (name.includes('/')) return [name];
    const own = user.object;
    const inherited = own.runpath.length > 0 ? [] : [user, program];
    const folders = [
      ...inherited.flatMap((object) => expand(object.object.rpath, object.path)),
      ...this.#environmentPath,
      ...expand(own.runpath, user.path),
    ];
    this.#cache ??= this.#readCache();
    const cached = (await this.#cache).get(name) ?? [];
    return [
      ...folders.map((folder) => posix.join(folder, name)),
      ...cached,
      ...usualFolders(program).map((folder) => posix.join(folder, name)),
    ];
  }

  async #readCache(): Promise<Map<string, string[]>> {
    const file = this.#files.file(cachePath);
    if (!file) return new Map();
    return parseLibraryCache(await this.#files.read(file, 0, cacheBytesMax));
  }
}

/** The interpreter's own folder holds what it looks for last, also that of musl. */
function usualFolders({ object }: LoadedObject): string[] {
  const own = object.interpreter === undefined ? [] : [posix.dirname(object.interpreter)];
  return [...own, '/lib', '/usr/lib', '/lib64', '/usr/lib64', '/usr/local/lib'];
}

function expand(folders: readonly string[], path: string): string[] {
  const origin = posix.dirname(path);
  return folders.map((folder) => folder.replace(/\$(ORIGIN|\{ORIGIN\})/g, origin));
}
