import type { ReplacementPolicy } from '../pop-option.js';
import type { Clock } from '../store/clock.js';
import type { ImageUse } from './image-uses.js';
import type { SharedTierLink, TierQuestion } from './shared-tier-link.js';
import type { KnownUse } from './tier-lists.js';

/** Milliseconds for room to be made: where many files leave a slow file system it takes long. */
const tidyTimeoutMs = 3_600_000;
/** Milliseconds between two looks at how much is there. */
const tidyMs = 30_000;
/** Milliseconds for which no other node makes room: who takes longer goes on beside the next. */
const turnMs = 120_000;

/** What the site agrees upon, as far as it matters here: ImageUses (image-uses.ts). */
export interface SiteUses {
  mounted(image: string): void;
  /** What this node uses, if it could not tell so for a while. */
  untold(): readonly string[];
  list(): Promise<readonly ImageUse[] | undefined>;
  mayTidy(milliseconds: number): Promise<boolean>;
  /** It is done. */
  hasTidied(): Promise<void>;
  announce(message: string): Promise<void>;
}

export interface TierRoomOptions {
  readonly quotaBytes: number;
  /** What leaves first. */
  readonly policy?: ReplacementPolicy | undefined;
  readonly clock: Pick<Clock, 'now'>;
  /** Told what has left. */
  readonly onLeft: (images: number, bytes: number) => void;
}

/** After files were put into the tier: the site is told, and room is made where they are too much. */
export class TierRoom {
  readonly #link: Pick<SharedTierLink, 'ask'>;
  readonly #options: TierRoomOptions;
  #tidying: boolean;
  /** Put there since room was made last. */
  #putBytes = 0;
  /** Files were put there that the site was not told of. */
  #hasNews: boolean;
  /** When the last try ended, and whether it made room. */
  #tried: { readonly at: number; readonly failed: boolean } = {
    at: Number.NEGATIVE_INFINITY,
    failed: false,
  };
  #foundBytes: number | null = null;

  constructor(link: Pick<SharedTierLink, 'ask'>, options: TierRoomOptions) {
    this.#link = link;
    this.#options = options;
    this.#tidying = false;
    this.#hasNews = false;
  }

  /** Bytes that were there at the last look of this node. */
  get foundBytes(): number | null {
    return this.#foundBytes;
  }

  put(bytes: number): void {
    this.#putBytes += bytes;
    this.#hasNews = true;
  }

  /** Room is made once at a time; never fails. */
  async make(uses: SiteUses, tier: string): Promise<void> {
    await this.#tell(uses, tier);
    if (this.#tidying || !this.#isTime) return;
    this.#tidying = true;
    try {
      if (!(await uses.mayTidy(turnMs))) return;
      const known = await uses.list();
      if (known) await this.#make(known, uses, tier); // else what is in use is not known
      await uses.hasTidied();
    } finally {
      this.#tidying = false;
    }
  }

  async #tell(uses: SiteUses, tier: string): Promise<void> {
    if (!this.#hasNews) return;
    this.#hasNews = false; // what comes while this is told is told next time
    await uses.announce(`came ${tier}`);
  }

  async #make(known: readonly ImageUse[], uses: SiteUses, tier: string): Promise<void> {
    const { quotaBytes, policy = 'lru', onLeft } = this.#options;
    const putBytes = this.#putBytes;
    const request: TierQuestion = { ask: 'tidy', quotaBytes, policy, uses: known.map(asKnown) };
    const answer = await this.#link.ask(request, tidyTimeoutMs);
    this.#tried = { at: this.#options.clock.now(), failed: answer?.is !== 'tidy' };
    if (answer?.is === 'tidy') {
      this.#putBytes -= putBytes;
      this.#foundBytes = answer.bytes;
      if (answer.left.bytes === 0) return;
      onLeft(answer.left.images.length, answer.left.bytes);
    }
    // Also where it failed: some may have left before that.
    await uses.announce(`left ${tier}`);
  }

  /** A look at all that is there takes seconds: not after each file. */
  get #isTime(): boolean {
    const { quotaBytes } = this.#options;
    if (!Number.isFinite(quotaBytes) || this.#putBytes === 0) return false;
    const mayBeOver = (this.#foundBytes ?? 0) + this.#putBytes > quotaBytes;
    const { at, failed } = this.#tried;
    return (mayBeOver && !failed) || this.#options.clock.now() - at > tidyMs;
  }
}

function asKnown({ image, idleMs, times, nodes }: ImageUse): KnownUse {
  return { image, idleMs, times, inUse: nodes.length > 0 };
}
