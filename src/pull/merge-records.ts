import type { FileRef } from '../cache/file-origin.js';
import { packedCount, unpackFiles } from '../cache/packed-files.js';
import type { Digest } from '../digest.js';
import { type ErrorCode, fromSystemError, ThinError } from '../errors.js';
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

export type ToMerge =
  /** Path of the next layer's record, lowest first. */
  | { readonly type: 'layer'; readonly record: string }
  /** Those were all. */
  | { readonly type: 'finish' };

export type MergeReply =
  | 'files-missing'
  | { readonly digest: Digest; readonly files: Uint8Array }
  | { readonly code: ErrorCode; readonly message: string };

export interface MergedImage {
  /** Of the tree as EROFS, as metadata/FORMAT.md has it. */
  readonly digest: Digest;
  /** Distinct contents of the tree that have bytes. */
  readonly fileCount: number;
  /** May be gone through any number of times. */
  files(): Iterable<FileRef>;
}

/** Merges the layers of one image: those that are here, while the others are on their way. */
export class RecordsMerge implements AsyncDisposable {
  readonly #request: MergeRequest;
  readonly #workers: PullWorkers;
  readonly #records: (string | undefined)[] = [];
  #added = 0;
  #worker: MergeWorker | undefined;

  constructor(request: MergeRequest, workers: PullWorkers) {
    this.#request = request;
    this.#workers = workers;
  }

  /** A layer is here. @param index from the lowest; they come in any order @param record its path */
  brought(index: number, record: string): void {
    this.#records[index] = record;
    if (this.#worker !== undefined) this.begin();
  }

  get begun(): boolean {
    return this.#worker !== undefined;
  }

  /** Merges what can be merged. Its thread takes memory from now on. */
  begin(): void {
    this.#worker ??= this.#workers.startMerge(this.#request);
    for (let record = this.#next(); record !== undefined; record = this.#next()) {
      this.#worker.post({ type: 'layer', record });
      this.#added += 1;
    }
  }

  #next(): string | undefined {
    return this.#records[this.#added];
  }

  /**
   * To be called when all layers are here.
   * @returns undefined if a file of the merged tree is not here
   * @throws ThinError `corrupt` if they cannot be put together; `canceled`
   */
  async finish(signal: AbortSignal): Promise<MergedImage | undefined> {
    this.begin();
    const reply = await this.#reply(signal).catch((error: unknown) => {
      throw fromSystemError('Cannot merge layers', error);
    });
    if (reply === 'files-missing') return undefined;
    if ('code' in reply) throw new ThinError(reply.code, reply.message);
    const files = viewOf(reply.files);
    return {
      digest: reply.digest,
      fileCount: packedCount(files),
      files: () => unpackFiles(files),
    };
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

  /** Its thread and its memory are gone then. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker?.terminate();
  }
}

/** What crosses threads is no Buffer any more. */
function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
