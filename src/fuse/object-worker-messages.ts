import type { MessagePort } from 'node:worker_threads';
import type { PartialView } from '../cache/partial-view.js';
import type { Digest } from '../digest.js';
import type { SharedFileList } from './file-list.js';
import type { ForwardedRead } from './serve.js';

/** What a worker is started with. */
export interface ObjectWorkerData {
  readonly device: number;
  readonly tiers: readonly string[];
  readonly images: readonly SharedFileList[];
  /** Where {@link ObjectWorkerUpdate}s come from. */
  readonly updates: MessagePort;
  /** Of this thread alone, as {@link threadState} tells. */
  readonly state: Int32Array;
}

/**
 * Numbers of a thread: updates posted to it, updates it has heard, 1 once it is to end with its next
 * request, 1 once it serves no more.
 */
export const threadState = { posted: 0, heard: 1, stop: 2, ended: 3, length: 4 } as const;

/** What the main thread tells a worker, which hears it with its next request. */
export type ObjectWorkerUpdate =
  | { readonly type: 'image'; readonly list: SharedFileList }
  | { readonly type: 'image-ended'; readonly name: string }
  | { readonly type: 'partial'; readonly node: number; readonly view: PartialView }
  | { readonly type: 'partial-ended'; readonly node: number }
  /** Some may be gone, or wrong: files that can be opened again are to be closed. */
  | { readonly type: 'close-files' };

/** What a worker tells the main thread. */
export type ObjectWorkerReport =
  | { readonly type: 'connected' }
  | { readonly type: 'initialized'; readonly accepted: boolean }
  /** Something is being read, once a second. */
  | { readonly type: 'reading' }
  | { readonly type: 'read'; readonly read: ForwardedRead }
  | { readonly type: 'interrupt'; readonly unique: bigint }
  | { readonly type: 'used'; readonly contents: readonly Digest[] };
