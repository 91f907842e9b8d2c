import type { MessagePort } from 'node:worker_threads';
import type { ErrorCode } from '../errors.js';
import type { LayerSummary } from '../layer/read-layer.js';
import type { RingPart } from './byte-ring.js';

/** As native-bindings/file-store.ts wants it. */
export interface FilePlace {
  readonly directory: string;
  readonly incoming: string;
  readonly others: readonly string[];
}

/** What a worker is to do with a layer's bytes. */
export interface LayerJob {
  /** Of its descriptor. */
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  /** Of the image's config. */
  readonly diffId: string;
  /** Where its files go. */
  readonly place: FilePlace;
  /** Where its record is written, and what it is called when it is whole. */
  readonly recordDraft: string;
  readonly record: string;
  /** Calls that store files at the same time. */
  readonly storesInFlight: number;
}

export type LayerTask =
  | { readonly type: 'layer'; readonly job: LayerJob }
  /** Is everything here that this record names? */
  | { readonly type: 'find'; readonly record: string; readonly place: FilePlace };

/** The first message about a layer, to the worker itself; all others go through `port`. */
export interface StartLayer {
  readonly task: LayerTask;
  /** Where its bytes are written. */
  readonly memory: SharedArrayBuffer;
  readonly port: MessagePort;
}

/** To the worker. */
export type ToWorker =
  /** The layer's next bytes, in that memory. */
  | { readonly type: 'bytes'; readonly part: RingPart }
  | { readonly type: 'end' }
  /** The layer's source has failed: nothing more comes. */
  | { readonly type: 'cancel' }
  /** Room for so many bytes more; none: it is scarce, ask for what is needed. The answer to `reserve`. */
  | { readonly type: 'granted'; readonly bytes: number }
  /** There is no room: the other answer. */
  | { readonly type: 'refused'; readonly code: ErrorCode; readonly message: string };

/** From the worker; `done` or `failed` is the last. */
export type FromWorker =
  /** So many of the bytes that were sent are used up: their memory is free. */
  | { readonly type: 'taken'; readonly bytes: number; readonly plainBytes: number }
  /** `exact`: exactly so many, and files may have to go for them. */
  | { readonly type: 'reserve'; readonly bytes: number; readonly exact: boolean }
  /** Files that are in the tier now, as cache/packed-files.ts has them. */
  | { readonly type: 'stored'; readonly files: Uint8Array }
  | { readonly type: 'done'; readonly summary: LayerSummary }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string };
