import { readFile } from 'node:fs/promises';
import { fromSystemError } from '../errors.js';
import type { CredentialChoice } from '../registry/registry-session.js';
import { type OpenedStore, openStore } from '../store/open-store.js';
import type { Store } from '../store/store.js';
import type { ImageSource } from './image-folder.js';

/**
 * The stores that images of this node come from, each opened once. Credentials that a command gave
 * are kept for as long as the daemon runs, in memory only.
 */
export class Stores implements AsyncDisposable {
  readonly #opened = new Map<string, Promise<OpenedStore<Store>>>();
  readonly #credentials = new Map<string, CredentialChoice>();

  /** Uses these from now on; a store that was opened without them is opened anew. */
  logIn(source: ImageSource, credentials: CredentialChoice): void {
    const key = keyOf(source);
    this.#credentials.set(key, credentials);
    const stale = this.#opened.get(key);
    this.#opened.delete(key);
    // Reads that are under way end with an error and are retried over the new connection.
    void stale?.then((opened) => opened[Symbol.asyncDispose]()).catch(() => {});
  }

  credentials(source: ImageSource): CredentialChoice {
    return this.#credentials.get(keyOf(source)) ?? 'docker';
  }

  async open(source: ImageSource, signal: AbortSignal): Promise<Store> {
    const key = keyOf(source);
    let opening = this.#opened.get(key);
    if (!opening) {
      opening = openSource(source, this.credentials(source), signal);
      this.#opened.set(key, opening);
      opening.catch(() => this.#opened.delete(key));
    }
    return (await opening).store;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await Promise.allSettled(this.#opened.values());
    this.#opened.clear();
    for (const result of opened) {
      if (result.status === 'fulfilled') await result.value[Symbol.asyncDispose]();
    }
  }
}

async function openSource(
  source: ImageSource,
  credentials: CredentialChoice,
  signal: AbortSignal,
): Promise<OpenedStore<Store>> {
  const { location, plainHttp, caFile, s3Endpoint, s3Region } = source;
  const options = {
    registry: { credentials, plainHttp, ca: caFile },
    http: { ca: caFile === undefined ? undefined : await readAuthorities(caFile) },
    s3: { endpoint: s3Endpoint, region: s3Region },
  };
  return openStore(location, options, signal);
}

async function readAuthorities(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw fromSystemError(`Cannot read certificates ${path}`, error);
  }
}

function keyOf(source: ImageSource): string {
  const { location, plainHttp, caFile, s3Endpoint, s3Region } = source;
  return JSON.stringify([location, plainHttp, caFile, s3Endpoint, s3Region]);
}
