import type { Digest } from '../digest.js';
import type { ReplacementPolicy } from '../pop-option.js';
import type { KnownUse } from './tier-lists.js';
import type { TierPlan } from './tier-plan.js';

/** What the process of the shared tier is started with. */
export interface SharedTierStart {
  readonly directory: string;
  /** Bytes that stay free on its file system. */
  readonly freeSpaceFloorBytes: number;
}

/** What it is asked, each with a number of its own. */
export type SharedTierRequest = { readonly id: number } & (
  | {
      /** Whether the tier is there. @param known its id as it was; '' if it was never seen */
      readonly ask: 'look';
      readonly known: string;
    }
  | {
      readonly ask: 'read';
      readonly content: Digest;
      readonly size: number;
      readonly offset: number;
      readonly length: number;
    }
  | {
      /** Puts the whole file at `path` on this node, by way of `incoming`; and some of its bytes, to answer a read. */
      readonly ask: 'copy';
      readonly content: Digest;
      readonly size: number;
      readonly incoming: string;
      readonly path: string;
      readonly offset: number;
      readonly length: number;
    }
  | {
      readonly ask: 'put';
      readonly content: Digest;
      readonly size: number;
      /** Path of the file on this node. */
      readonly from: string;
    }
  | { readonly ask: 'remove'; readonly content: Digest }
  /** Whether it is known which files an image has; then, which they are (tier-lists.ts). */
  | { readonly ask: 'listed'; readonly image: string }
  | { readonly ask: 'list'; readonly image: string; readonly list: Uint8Array }
  /** Images that this node uses, which nobody hears otherwise. */
  | { readonly ask: 'mark'; readonly images: readonly string[] }
  | {
      /** Makes room, if more is there than may be. */
      readonly ask: 'tidy';
      readonly quotaBytes: number;
      readonly policy: ReplacementPolicy;
      readonly uses: readonly KnownUse[];
    }
);

export type SharedTierAnswer = { readonly id: number } & (
  | { readonly is: 'here'; readonly tier: string }
  /** Bytes of the file; `absent`: it is not there; `wrong`: it has another size. */
  | { readonly is: 'bytes'; readonly bytes: Uint8Array }
  /** The file was right; `kept`: and is at its path. */
  | { readonly is: 'copied'; readonly bytes: Uint8Array; readonly kept: boolean }
  | { readonly is: 'absent' | 'wrong' | 'removed' | 'there' | 'stored' }
  /** What is there now, and what has left. */
  | { readonly is: 'tidy'; readonly bytes: number; readonly left: Omit<TierPlan, 'files'> }
  /** It cannot be done now. `ours`: this node's file is at fault. */
  | { readonly is: 'failed'; readonly why: string; readonly ours: boolean }
);

export type WithoutId<M> = M extends unknown ? Omit<M, 'id'> : never;
