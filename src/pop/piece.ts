import type { FetchName } from './pop-keys.js';

/** What a fetch from the origin is asked, looked at while it is under way. */
export interface FetchWish {
  readonly background: boolean;
  readonly onStall: (where: 'queued' | 'asked') => void;
}

/** Something that is the same wherever it comes from. */
export interface Piece<T> {
  readonly name: FetchName;
  /** What it is kept and sent as: of `frameBytesMax` bytes each at most. */
  readonly parts: readonly FetchName[];
  /** It may be larger than a frame, as all but frames: another node's fetch of it is waited for longer. */
  readonly whole: boolean;
  /** What decides on its home, instead of its own name: what is wanted together has one home. */
  readonly region?: FetchName | undefined;
  /** Nobody waits for it; looked at again and again. */
  readonly background: () => boolean;
  /** What the parts are, as peers gave them, or undefined if they are something else. Never fails. */
  readonly read: (parts: readonly Buffer[]) => Promise<T | undefined>;
  /** From the origin. `parts`: for the others, where they are known to be right. */
  readonly fetch: (wish: FetchWish) => Promise<{ value: T; parts: readonly Buffer[] | undefined }>;
  /** Whether the origin keeps everybody waiting now. */
  readonly stuck: () => boolean;
}
