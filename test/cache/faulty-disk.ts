import { join } from 'node:path';
import type { StoredFile } from '../../native-bindings/file-store.js';
import { createNew, type Disk, nodeDisk } from '../../src/cache/disk.js';
import { tierPath } from '../../src/cache/layout.js';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';

type Operation = keyof Disk;

/** All that can fail without leaving descriptors open. */
export const operations = [
  ...(['open', 'read', 'write', 'truncate', 'stat'] as const),
  ...(['exists', 'rename', 'unlink', 'space', 'sync'] as const),
] satisfies Operation[];

/** The real disk with faults that are switched on and off by name. */
export class FaultyDisk implements Disk {
  /** Operations that fail, with the errno's name. */
  readonly faults = new Map<Operation, string>();
  /** Operations that do not come back until they are removed from here. */
  readonly hanging = new Set<Operation>();
  readonly #released: (() => void)[] = [];
  /** Called before each operation. */
  before: (operation: Operation) => void = () => undefined;

  release(): void {
    this.hanging.clear();
    for (const go of this.#released.splice(0)) go();
  }

  async #run<T>(operation: Operation, work: () => Promise<T>): Promise<T> {
    this.before(operation);
    const code = this.faults.get(operation);
    if (code !== undefined) throw Object.assign(new Error(`${code}: injected`), { code });
    if (this.hanging.has(operation)) {
      await new Promise<void>((resolve) => this.#released.push(resolve));
    }
    return work();
  }

  open(path: string, flags: number): Promise<number> {
    return this.#run('open', () => nodeDisk.open(path, flags));
  }
  close(fd: number): Promise<void> {
    return this.#run('close', () => nodeDisk.close(fd));
  }
  read(fd: number, into: Buffer, position: number): Promise<number> {
    return this.#run('read', () => nodeDisk.read(fd, into, position));
  }
  write(fd: number, bytes: Buffer, position: number): Promise<void> {
    return this.#run('write', () => nodeDisk.write(fd, bytes, position));
  }
  truncate(fd: number, size: number): Promise<void> {
    return this.#run('truncate', () => nodeDisk.truncate(fd, size));
  }
  stat(fd: number): ReturnType<Disk['stat']> {
    return this.#run('stat', () => nodeDisk.stat(fd));
  }
  exists(path: string): Promise<boolean> {
    return this.#run('exists', () => nodeDisk.exists(path));
  }
  rename(from: string, to: string): Promise<void> {
    return this.#run('rename', () => nodeDisk.rename(from, to));
  }
  openPlace(): void {}
  /** By the other operations, as is what follows: each of them may fail. */
  async missing(...[place, contents]: Parameters<Disk['missing']>): Promise<Digest[]> {
    const missing: Digest[] = [];
    for (const content of contents) {
      if (!(await this.exists(tierPath(place.directory, content)))) missing.push(content);
    }
    return missing;
  }
  async storeAll(...[place, bytes, files]: Parameters<Disk['storeAll']>): Promise<StoredFile[]> {
    const stored: StoredFile[] = [];
    for (const { offset, length } of files) {
      const file = bytes.subarray(offset, offset + length);
      const content = digestOf(file);
      const path = tierPath(place.directory, content);
      const isNew = !(await this.exists(path));
      if (isNew) await this.#store(join(place.incoming, digestHex(content)), path, file);
      stored.push({ content, isNew, allocated: Math.ceil(length / 4096) * 4096 });
    }
    return stored;
  }
  async #store(incoming: string, path: string, file: Buffer): Promise<void> {
    const fd = await this.open(incoming, createNew);
    try {
      await this.write(fd, file, 0);
    } catch (error) {
      await nodeDisk.unlink(incoming);
      throw error;
    } finally {
      await this.close(fd);
    }
    await this.rename(incoming, path);
  }
  unlink(path: string): Promise<void> {
    return this.#run('unlink', () => nodeDisk.unlink(path));
  }
  space(path: string): ReturnType<Disk['space']> {
    return this.#run('space', () => nodeDisk.space(path));
  }
  sync(): Promise<void> {
    return this.#run('sync', async () => undefined);
  }
}
