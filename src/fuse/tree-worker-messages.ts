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
  /** Of all workers of the mount, as {@link treeState} tells. */
  readonly state: Int32Array;
}

/**
 * Numbers of a mount, which workers look at with their next request: not 0 when they are to end; counted
 * up when files that can be opened again are to be closed.
 */
export const treeState = { stop: 0, closes: 1, length: 2 } as const;

/** What a worker tells the main thread. */
export type TreeWorkerReport =
  | { readonly type: 'initialized'; readonly accepted: boolean }
  | { readonly type: 'read'; readonly read: ForwardedRead }
  | { readonly type: 'interrupt'; readonly unique: bigint }
  | { readonly type: 'used'; readonly contents: readonly Digest[] };
