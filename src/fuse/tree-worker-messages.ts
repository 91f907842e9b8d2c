import type { Digest } from '../digest.js';
import type { TreeForm } from '../metadata/erofs-image.js';
import type { ForwardedRead } from './serve.js';

/** What a worker is started with. */
export interface TreeWorkerData {
  readonly device: number;
  /** The EROFS image. */
  readonly metadata: SharedArrayBuffer;
  readonly form: TreeForm;
  readonly tiers: readonly string[];
  /** One shared number: not 0 when the worker is to end with its next request. */
  readonly stop: Int32Array;
}

/** What a worker tells the main thread. */
export type TreeWorkerReport =
  | { readonly type: 'initialized'; readonly accepted: boolean }
  | { readonly type: 'read'; readonly read: ForwardedRead }
  | { readonly type: 'interrupt'; readonly unique: bigint }
  | { readonly type: 'used'; readonly contents: readonly Digest[] };
