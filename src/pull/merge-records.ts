import type { FileRef, ListedFiles } from '../cache/file-origin.js';
import { type Digest, digestFromBytes, digestSize } from '../digest.js';
import { type ErrorCode, fromSystemError, ThinError } from '../errors.js';
import type { FileColumns } from '../file-columns.js';
import { canceled } from './canceled.js';
import type { FilePlace } from './layer-messages.js';
import type { MergeWorker, PullWorkers } from './pull-workers.js';

export interface MergeRequest {
  /** How many there are. */
  readonly layers: number;
  /** Where their files are. */
  readonly place: FilePlace;
  /** Path of the file, made anew, that the tree is written to. */
  readonly metadata: string;
}

/** The next layer, lowest first. */
export interface MergedLayer {
  /** Path of its record. */
  readonly record: string;
  /** Whose record it has to be. */
  readonly diffId: string;
}

export type ToMerge =
  | { readonly type: 'layer'; readonly layer: MergedLayer }
  /** Those were all. */
  | { readonly type: 'finish' };

export type MergeReply =
  | {
      readonly digest: Digest;
      /** Distinct contents that have bytes. */
      readonly files: { readonly digests: Uint8Array; readonly sizes: Float64Array };
      /** Files that are in no tier. */
      readonly missing: number;
      /** Of all layers. */
      readonly plainBytes: number;
    }
  | { readonly code: ErrorCode; readonly message: string };

export interface MergedImage {
  /** Of the tree as EROFS, as metadata/FORMAT.md has it. */
  readonly digest: Digest;
  /** Distinct contents of the tree that have bytes. */
  readonly fileCount: number;
  /** How many of them are in no tier. */
  readonly missing: number;
  /** Plain bytes of all layers. */
  readonly plainBytes: number;
  files(): ListedFiles;
}

/** Merges the layers of one image: those that are here, while the others are on their way. */
export class RecordsMerge implements AsyncDisposable {
  readonly #request: MergeRequest;
  readonly #workers: PullWorkers;
  readonly #layers: (MergedLayer | undefined)[] = [];
  #added = 0;
  #worker: MergeWorker | undefined;
  #ended: Promise<unknown> | undefined;

  constructor(request: MergeRequest, workers: PullWorkers) {
    this.#request = request;
    this.#workers = workers;
  }

  /** A layer is here. @param index from the lowest; they come in any order */
  brought(index: number, layer: MergedLayer): void {
    this.#layers[index] = layer;
    if (this.#worker !== undefined) this.begin();
  }

  get begun(): boolean {
    return this.#worker !== undefined;
  }

  /** Merges what can be merged. Its thread takes memory from now on. */
  begin(): void {
    this.#worker ??= this.#workers.startMerge(this.#request);
    for (let layer = this.#next(); layer !== undefined; layer = this.#next()) {
      this.#worker.post({ type: 'layer', layer });
      this.#added += 1;
    }
  }

  #next(): MergedLayer | undefined {
    return this.#layers[this.#added];
  }

  /**
   * To be called when all layers are here. Its thread, whose memory takes a while to go, ends behind that.
   * @throws ThinError `corrupt` if they cannot be put together, or a record is that of another layer;
   *   `canceled`
   */
  async finish(signal: AbortSignal): Promise<MergedImage> {
    this.begin();
    const reply = await this.#reply(signal).catch((error: unknown) => {
      throw fromSystemError('Cannot merge layers', error);
    });
    void this.#end();
    if ('code' in reply) throw new ThinError(reply.code, reply.message);
    const { digest, missing, plainBytes } = reply;
    const { sizes } = reply.files;
    const columns = { digests: viewOf(reply.files.digests), sizes };
    return { digest, missing, plainBytes, fileCount: sizes.length, files: () => listOf(columns) };
  }

  #reply(signal: AbortSignal): Promise<MergeReply> {
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(canceled(signal));
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) onAbort();
      this.#worker?.reply
        .then(resolve, reject)
        .finally(() => signal.removeEventListener('abort', onAbort));
      this.#worker?.post({ type: 'finish' });
    });
  }

  #end(): Promise<unknown> | undefined {
    this.#ended ??= this.#worker?.terminate();
    return this.#ended;
  }

  /** Its thread and its memory are gone then. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }
}

function listOf(columns: FileColumns): ListedFiles {
  return { columns: () => columns, [Symbol.iterator]: () => eachOf(columns) };
}

function* eachOf({ digests, sizes }: FileColumns): Generator<FileRef, void> {
  for (const [at, size] of sizes.entries()) {
    yield { content: digestFromBytes(digests, at * digestSize), size };
  }
}

/** What crosses threads is no Buffer any more. */
function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
