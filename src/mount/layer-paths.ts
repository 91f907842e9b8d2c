import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { type MountSetting, settingBytesMax } from '../../native-bindings/mount-api.js';
import { fromSystemError } from '../errors.js';

/** Paths that mean the same in the mount options of the kernel, without escapes. */
const plainPath = /^\/[\w\-./@+ ]*$/;

/**
 * Directories as overlayfs is told them: by path where that needs no escapes and is short enough,
 * else by a descriptor that is open until this is disposed of.
 */
export class LayerPaths implements AsyncDisposable {
  readonly #opened = new Map<string, FileHandle>();

  /** For mount(2): a path without `,` `:` `\` and quotes. */
  async text(path: string): Promise<string> {
    return isPlain(path) ? path : `/proc/self/fd/${await this.#descriptor(path)}`;
  }

  /** For fsconfig(2). */
  async setting(key: string, path: string): Promise<MountSetting> {
    return [key, isPlain(path) ? path : await this.#descriptor(path)];
  }

  async #descriptor(path: string): Promise<number> {
    const known = this.#opened.get(path);
    if (known) return known.fd;
    try {
      const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
      this.#opened.set(path, handle);
      return handle.fd;
    } catch (error) {
      throw fromSystemError(`Cannot use ${path} as a layer`, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const handle of this.#opened.values()) await handle.close();
    this.#opened.clear();
  }
}

function isPlain(path: string): boolean {
  return plainPath.test(path) && path.length <= settingBytesMax;
}
