import { join } from 'node:path';
import type { Logger } from 'pino';
import { describeError } from '../errors.js';
import type { LeftFolder } from './control-api.js';

/**
 * Folders of mounts or containers of which nothing can be read, or that could not be removed: they are
 * left as they are, for they may be in use, and have changes that somebody wants.
 */
export class LeftFolders {
  readonly #kind: LeftFolder['kind'];
  readonly #folder: string;
  readonly #log: Logger;
  readonly #reasons = new Map<string, string>();

  /** @param folder that they are in */
  constructor(kind: LeftFolder['kind'], folder: string, log: Logger) {
    this.#kind = kind;
    this.#folder = folder;
    this.#log = log;
  }

  leave(id: string, error: unknown): void {
    const reason = describeError(error);
    this.#reasons.set(id, reason);
    this.#log.error({ id, reason }, `a ${this.#kind} is left as it is`);
  }

  has(id: string): boolean {
    return this.#reasons.has(id);
  }

  /** It has been removed. */
  forget(id: string): void {
    this.#reasons.delete(id);
  }

  list(): LeftFolder[] {
    return [...this.#reasons].map(([id, reason]) => {
      return { id, kind: this.#kind, folder: join(this.#folder, id), reason };
    });
  }
}
