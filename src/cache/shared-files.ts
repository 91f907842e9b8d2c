import type { Digest } from '../digest.js';
import type { FileRef } from './file-origin.js';

/** A complete file of this node, and where it is now. */
export interface SharedOffer {
  readonly file: FileRef;
  readonly path: string;
}

/** Where a file goes, by way of a path that is not there yet. */
export interface CopyTarget {
  readonly incoming: string;
  readonly path: string;
}

/**
 * What became of a copy. `kept`: all of it is there now, and was not before; `there`: something was there;
 * `unknown`: either, and what it came by may be left; `not-kept`: none of these.
 */
export type CopyEnd = 'kept' | 'there' | 'unknown' | 'not-kept';

/** A file on its way to this node. Neither fails. */
export interface SharedCopy {
  /** What was asked for of it, verified; undefined where it cannot be had, or not in time. */
  readonly bytes: Promise<Buffer | undefined>;
  /** Ends, perhaps much later or never by itself, when nothing is being written any more. */
  readonly end: Promise<CopyEnd>;
}

/**
 * Complete files that the nodes of a site have in common, where they may be missing, wrong, late or
 * out of reach at any time: nothing is believed before it was verified. Nothing here fails.
 */
export interface SharedFiles {
  /** `xx/<64 hex>` below it. */
  readonly directory: string;
  /** Whether it is there, as far as is known. */
  readonly here: boolean;
  /** Mounts read it by themselves: what it has is not copied to this node. */
  readonly direct: boolean;
  /** Bytes that are not verified; undefined where they cannot be had, or not in time. */
  read(file: FileRef, offset: number, length: number): Promise<Buffer | undefined>;
  /**
   * Puts a file where this node keeps it, verified; not synced.
   * @param length of what is read of it; it may be left out where that would take longer than all else
   */
  copy(file: FileRef, to: CopyTarget, offset: number, length: number): SharedCopy;
  /** Whatever is being copied ends now. */
  endCopies(): void;
  has(file: FileRef): Promise<boolean>;
  /** What it has under this name is something else. */
  wrong(content: Digest): void;
  /** An image is being mounted, which has these files. */
  mounted(image: string, files: readonly FileRef[]): void;
  /** A file that is complete on this node, for the others. @param path where it is now */
  offer(file: FileRef, path: string): void;
  /**
   * So many that they are not kept in memory: they are drawn when each is to be put.
   * @param count of them at most
   */
  offerAll(offers: AsyncIterable<SharedOffer>, count: number): void;
}

/** Where mounts read them by themselves; none where they do not, or nothing is there. */
export function directDirectories(shared: SharedFiles | undefined): readonly string[] {
  return shared?.direct && shared.here ? [shared.directory] : [];
}

/** Of a file that is not to be had. */
export const notCopied: SharedCopy = {
  bytes: Promise.resolve(undefined),
  end: Promise.resolve('not-kept'),
};
