import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { describeError, ThinError } from '../errors.js';
import { detachPath } from '../fuse/kernel-mount.js';
import { makeFolder } from '../make-folder.js';
import { type ContainerRecord, readContainer, writeContainer } from './container-record.js';

/** As docker's, but shorter: a name is that of a folder, and part of a cgroup's. */
const idGrammar = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;

/** `containers/<id>/`: the bundle, the writable layer and `container.json` of each container. */
export class ContainerFolders {
  readonly #folder: string;
  readonly #log: Logger;
  /** Those of which nothing can be read, or that could not be removed: there may be changes that somebody wants. */
  readonly #left = new Map<string, string>();

  /** @param root of the node's state */
  constructor(root: string, log: Logger) {
    this.#folder = join(root, 'containers');
    this.#log = log;
  }

  path(id: string): string {
    return join(this.#folder, id);
  }

  /** Removes what was being made; what cannot be read is left as it is. */
  async read(): Promise<ContainerRecord[]> {
    await makeFolder(this.#folder, 0o700);
    const records: ContainerRecord[] = [];
    for (const id of await readdir(this.#folder)) {
      try {
        const record = await readContainer(this.path(id));
        if (record) records.push(record);
        else await this.remove(id);
      } catch (error) {
        this.leave(id, error);
      }
    }
    return records;
  }

  /** @throws ThinError `no-space`, `denied` */
  async write(record: ContainerRecord): Promise<void> {
    await writeContainer(this.path(record.id), record);
  }

  /** Nobody takes its name before it is removed. */
  leave(id: string, error: unknown): void {
    const reason = describeError(error);
    this.#left.set(id, reason);
    this.#log.error({ id, reason }, 'a container is left as it is');
  }

  /** @throws ThinError `invalid`; `busy` if what cannot be read has the name */
  checkName(id: string): void {
    if (!idGrammar.test(id)) {
      const what = 'wanted letters, digits, _ . -';
      throw new ThinError('invalid', `Cannot name a container "${id}": ${what}`);
    }
    if (!this.#left.has(id)) return;
    const what = `${this.path(id)} has one that cannot be read (wanted another name)`;
    throw new ThinError('busy', `Cannot name a container ${id}: ${what}`);
  }

  async remove(id: string): Promise<void> {
    await detachPath(join(this.path(id), 'merged'));
    await rm(this.path(id), { recursive: true, force: true });
    this.#left.delete(id);
  }
}
