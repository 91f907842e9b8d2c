import { rm } from 'node:fs/promises';
import type { FileChunks, Pack } from '../src/chunk/frame.js';
import type { Digest } from '../src/digest.js';
import { readBlobFile } from './layout-content.js';
import type { Target } from './target.js';

export interface PackUpload {
  readonly job: string;
  readonly path: string;
  /** Undefined if the layer had no new chunk. */
  readonly pack: Pack | undefined;
  readonly files: Iterable<FileChunks>;
  /** Called when everything that the layer refers to is in the store. */
  readonly remember: () => Promise<void>;
}

/**
 * Sends packs while the next layer is converted: one at a time, in order, and the spool never holds
 * more than two. A failure aborts {@link signal}, for the conversion to end.
 */
export class PackUploads {
  readonly #target: Target;
  readonly #onProgress: (job: string, done: number, total: number) => void;
  readonly #outside: AbortSignal;
  readonly #abort = new AbortController();
  readonly #giveUp = () => this.#abort.abort(this.#outside.reason);
  readonly #sent = new Set<Digest>();
  #sentBytes = 0;
  #running: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  constructor(
    target: Target,
    signal: AbortSignal,
    onProgress: (job: string, done: number, total: number) => void,
  ) {
    this.#target = target;
    this.#onProgress = onProgress;
    this.#outside = signal;
    signal.addEventListener('abort', this.#giveUp);
    if (signal.aborted) this.#giveUp();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Packs that the store did not have. */
  get sent(): ReadonlySet<Digest> {
    return this.#sent;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** What an upload failed with: whatever else fails then does so because of it. */
  get failure(): unknown {
    return this.#failure?.error;
  }

  /** Waits for the upload before, then begins this one. */
  async add(upload: PackUpload): Promise<void> {
    await this.finish();
    this.#running = this.#send(upload).catch((error: unknown) => {
      this.#failure ??= { error };
      this.#abort.abort(error);
    });
  }

  /** @throws what an upload failed with */
  async finish(): Promise<void> {
    await this.#running;
    if (this.#failure) throw this.#failure.error;
  }

  /** Ends what still runs. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#outside.removeEventListener('abort', this.#giveUp);
    await this.#running;
  }

  async #send({ job, path, pack, files, remember }: PackUpload): Promise<void> {
    if (pack) {
      await this.#put(`${job}: pack`, path, pack);
      this.#target.index.packs.add(this.#target.place, pack, files);
      await rm(path, { force: true });
    }
    await remember();
  }

  async #put(job: string, path: string, pack: Pack): Promise<void> {
    const { store } = this.#target;
    const { signal } = this.#abort;
    if (await store.hasBlob(pack, signal)) return;
    const count = (at: number) => this.#onProgress(job, at, pack.size);
    const open = (offset: number) => counted(readBlobFile(path, offset, signal), offset, count);
    if (!(await store.adoptFile?.(pack, path, signal))) await store.putBlob(pack, open, signal);
    this.#sent.add(pack.digest);
    this.#sentBytes += pack.size;
  }
}

async function* counted(
  source: AsyncIterable<Buffer>,
  offset: number,
  count: (at: number) => void,
): AsyncGenerator<Buffer, void> {
  let at = offset;
  for await (const bytes of source) {
    yield bytes;
    at += bytes.length;
    count(at);
  }
}
