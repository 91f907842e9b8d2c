import { contentCases } from './torture-content.js';
import { formatCases } from './torture-formats.js';
import { hardlinkCases } from './torture-hardlinks.js';
import { headerCases } from './torture-headers.js';
import { numberCases } from './torture-numbers.js';
import { paxCases } from './torture-pax.js';
import { replacementCases } from './torture-replacements.js';
import { sparseCases } from './torture-sparse.js';
import { whiteoutCases } from './torture-whiteouts.js';

/** What a path of the merged tree has to be; what is left out is not looked at. */
export interface ExpectedNode {
  readonly type: 'file' | 'directory' | 'symlink' | 'character' | 'block' | 'fifo';
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds and nanoseconds. */
  readonly mtime?: readonly [number, number];
  /** Bytes of a file, one character each. */
  readonly content?: string;
  readonly size?: number;
  readonly target?: string;
  /** Major and minor. */
  readonly device?: readonly [number, number];
  /** All of them, values as bytes, one character each. */
  readonly xattrs?: Readonly<Record<string, string>>;
  /** The path whose inode it shares. */
  readonly sameInodeAs?: string;
}

/** By path as bytes, one character each: all paths there are. The root (`''`) may be left out. */
export type ExpectedTree = Readonly<Record<string, ExpectedNode>>;

export interface TortureCase {
  /** `L1` to `L30` of the list of layer rules in facts/failures.md, and what of it is tried. */
  readonly rule: string;
  readonly name: string;
  /** Tar archives, lowest first, some of them compressed. */
  readonly layers: readonly Buffer[];
  /** The tree, or a pattern of the message with which reading or merging is refused. */
  readonly expected: ExpectedTree | RegExp;
  /** Where umoci 0.4, a foreign reader of the same layers, does something else, and what. */
  readonly umociDiffers?: string;
}

/** A small stack of layers for every layer rule. Made anew for each caller, in milliseconds. */
export function tortureLayers(): TortureCase[] {
  return [
    ...whiteoutCases(),
    ...replacementCases(),
    ...hardlinkCases(),
    ...paxCases(),
    ...numberCases(),
    ...headerCases(),
    ...contentCases(),
    ...sparseCases(),
    ...formatCases(),
  ];
}
