import type { SourceReport } from '../store/source-health.js';

import type { CompletionStatus, FetchCounters, MountSummary } from './control-api.js';

/** A read of a program that has waited for some time. Sizes and offsets are in bytes. */
export interface WaitingRead {
  /** Digest and size of the file. */
  readonly content: string;
  readonly size: number;
  readonly offset: number;
  readonly length: number;
  /** Where the image has that content; empty if that would be dear to find out. */
  readonly paths: readonly string[];
  /** Digest of the manifest, and the image's name if it has one. */
  readonly image: string;
  readonly reference: string | undefined;
  /** Ids of the mounts and containers of that image: the reader is in one of them. */
  readonly mounts: readonly string[];
  /** Milliseconds since 1970. */
  readonly since: number;
  /** Where it is to come from. */
  readonly sources: readonly string[];
  /** Why it does not; absent while an answer is on its way. */
  readonly error?: string;
}

/** How much of an image is on this node. */
export interface LocalShare {
  /** Distinct files with content, and their bytes. */
  readonly files: number;
  readonly bytes: number;
  readonly localFiles: number;
  readonly localBytes: number;
  /** Files that are here in part, and the bytes of these parts. */
  readonly partialFiles: number;
  readonly partialBytes: number;
}

/** What `thin why` tells of an image, and of a mount or container of it. */
export interface WhyReport {
  /** Absent if an image was asked for that nothing has mounted. */
  readonly mount?: MountSummary;
  /** Why it is a portable mount, where that is for want of something. */
  readonly portableReason?: string;
  readonly manifest: string;
  readonly references: readonly string[];
  /** `complete`: no file is missing; `lazy`: files come when they are read. */
  readonly state: 'complete' | 'lazy';
  readonly kind: 'thin' | 'pulled';
  /** Absent while the cache has no account of the image: it was not mounted yet. */
  readonly local?: LocalShare;
  /** Of the fetch of the rest in the background, if there is one. */
  readonly completion?: CompletionStatus;
  /** Where complete files are looked for, in this order. */
  readonly tiers: readonly { readonly name: string; readonly directory: string }[];
  readonly sources: readonly SourceReport[];
  readonly fetched: FetchCounters;
  /** Reads that no complete local file could answer. */
  readonly reads: number;
  readonly waiting: readonly WaitingRead[];
}

/** One image in {@link Activity}. Counts are since the daemon started. */
export interface ImageActivity {
  readonly manifest: string;
  readonly reference: string;
  readonly mounts: readonly string[];
  readonly fetched: FetchCounters;
  readonly reads: number;
  readonly waiting: number;
  readonly local: LocalShare | undefined;
}

/** What `thin top` looks at each second. */
export interface Activity {
  /** Milliseconds of a clock that only grows: rates are differences of two answers. */
  readonly at: number;
  readonly images: readonly ImageActivity[];
  readonly hosts: readonly SourceReport[];
  readonly waiting: number;
}
