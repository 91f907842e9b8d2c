import type { FileRef } from '../cache/file-origin.js';
import { packedCount, unpackFiles } from '../cache/packed-files.js';
import type { Digest } from '../digest.js';
import { type ErrorCode, fromSystemError, ThinError } from '../errors.js';
import type { FilePlace } from './layer-messages.js';
import type { PullWorkers } from './pull-workers.js';

export interface MergeRequest {
  /** Paths of the layers' records, lowest first. */
  readonly records: readonly string[];
  /** Where their files are. */
  readonly place: FilePlace;
  /** Path of the file, made anew, that the tree is written to. */
  readonly metadata: string;
}

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

/**
 * Merges layers.
 * @returns undefined if a file of the merged tree is not here
 * @throws ThinError `corrupt` if they cannot be put together; `canceled`
 */
export async function mergeRecords(
  request: MergeRequest,
  workers: PullWorkers,
  signal: AbortSignal,
): Promise<MergedImage | undefined> {
  const reply = await workers.merge(request, signal).catch((error: unknown) => {
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

/** What crosses threads is no Buffer any more. */
function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
