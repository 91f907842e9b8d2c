import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { ThinError } from '../errors.js';
import { makeFolder } from '../make-folder.js';
import { type ContainerKey, containerState, deleteContainer, findRuntime } from '../mount/runc.js';
import { type ContainerRecord, readContainer, writeContainer } from './container-record.js';
import { LeftFolders } from './left-folders.js';
import { detachOwn } from './own-mount.js';

/** As docker's, but shorter: a name is that of a folder, and part of a cgroup's. */
const idGrammar = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;

/** `containers/<id>/`: the bundle, the writable layer and `container.json` of each container. */
export class ContainerFolders {
  readonly #folder: string;
  readonly left: LeftFolders;

  /** @param root of the node's state */
  constructor(root: string, log: Logger) {
    this.#folder = join(root, 'containers');
    this.left = new LeftFolders('container', this.#folder, log);
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
        this.left.leave(id, error);
      }
    }
    return records;
  }

  /** @throws ThinError `no-space`, `denied` */
  async write(record: ContainerRecord): Promise<void> {
    await writeContainer(this.path(record.id), record);
  }

  /** @throws ThinError `invalid`; `busy` if something was left under the name */
  checkName(id: string): void {
    if (!idGrammar.test(id)) {
      const what = 'wanted letters, digits, _ . -';
      throw new ThinError('invalid', `Cannot name a container "${id}": ${what}`);
    }
    if (!this.left.has(id)) return;
    const what = `${this.path(id)} is left of one (thin status says why, thin rm ${id} removes it)`;
    throw new ThinError('busy', `Cannot name a container ${id}: ${what}`);
  }

  /**
   * Of one whose record cannot be read only its runtime can tell whether it runs, if that is the usual one.
   * @throws ThinError `busy` if it may run
   */
  async removeLeft({ id, root }: Omit<ContainerKey, 'runtime'>): Promise<void> {
    const state = join(root, id);
    if (existsSync(state)) {
      const key = { id, root, runtime: findRuntime() };
      if ((await containerState(key))?.status !== 'stopped') {
        throw new ThinError('busy', `Cannot remove container ${id}: by ${state} it may run`);
      }
      await deleteContainer(key);
    }
    await this.remove(id);
  }

  /** Of which nothing runs. */
  async remove(id: string): Promise<void> {
    await detachOwn(join(this.path(id), 'merged'));
    await rm(this.path(id), { recursive: true, force: true });
    this.left.forget(id);
  }
}
