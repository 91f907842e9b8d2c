import type { ByteString } from '../byte-string.js';
import type { Digest } from '../digest.js';
import type { Attributes, Device } from './tree.js';

/**
 * One entry of a layer's tar archive, decoded: PAX, GNU and base-256 forms applied.
 * `path` is normalised: no leading `/` or `./`, no trailing `/`, no `//`, no `.` components; the
 * root itself is the empty string. A path with a `..` component never gets here.
 */
export type TarEntry = Attributes & { readonly path: ByteString } & (
    | { readonly type: 'directory' | 'fifo' }
    /** `size`: plain bytes with the holes of a sparse file. */
    | { readonly type: 'file'; readonly size: number }
    | { readonly type: 'symlink'; readonly target: ByteString }
    /** `target`: a path normalised as `path` is. */
    | { readonly type: 'hardlink'; readonly target: ByteString }
    | { readonly type: 'character' | 'block'; readonly device: Device }
  );

/** An entry with the digest of its content where it is a file: what a layer is once it was read. */
export type LayerEntry =
  | Exclude<TarEntry, { type: 'file' }>
  | (Extract<TarEntry, { type: 'file' }> & { readonly content: Digest });

/** What the names of whiteouts begin with, wherever in a path they stand. */
export const whiteoutPrefix = '.wh.';

/** One layer, in the order of its archive, whiteout entries included. */
export interface LayerChanges {
  /** Digest of the uncompressed archive, computed by us. */
  readonly diffId: Digest;
  /** Read more than once. */
  readonly entries: Iterable<LayerEntry>;
  /** The paths of the entries, where those can be had for less. */
  readonly paths?: Iterable<ByteString>;
  /** False where no path holds {@link whiteoutPrefix}, as far as that is known: then they need not be looked at. */
  readonly mayHaveWhiteouts?: boolean;
}

/** The same with its entries in memory. */
export interface LayerRecord extends LayerChanges {
  readonly entries: readonly LayerEntry[];
}
