import type { ReplacementPolicy } from '../pop-option.js';
import type { Clock } from '../store/clock.js';
import type { ImageUse } from './image-uses.js';
import type { SharedTierLink, TierQuestion } from './shared-tier-link.js';
import type { KnownUse } from './tier-lists.js';

/** Milliseconds for room to be made, and between two looks at how much is there. */
const tidyTimeoutMs = 60_000;
const tidyMs = 30_000;

/** What the site agrees upon, as far as it matters here: ImageUses (image-uses.ts). */
export interface SiteUses {
  mounted(image: string): void;
  list(): Promise<readonly ImageUse[] | undefined>;
  mayTidy(milliseconds: number): Promise<boolean>;
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
  /** When it was begun last, and whether it came to an end. */
  #tried: { readonly at: number; failed: boolean } = {
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

  /** One at a time; never fails. */
  async make(uses: SiteUses, tier: string): Promise<void> {
    if (this.#tidying) return;
    this.#tidying = true;
    try {
      if (this.#hasNews) await uses.announce(`came ${tier}`);
      this.#hasNews = false;
      // Who has the turn may be late, and goes on.
      if (!this.#isTime || !(await uses.mayTidy(2 * tidyTimeoutMs))) return;
      const known = await uses.list();
      if (known) await this.#make(known, uses, tier); // else what is in use is not known
    } finally {
      this.#tidying = false;
    }
  }

  async #make(known: readonly ImageUse[], uses: SiteUses, tier: string): Promise<void> {
    const { quotaBytes, policy = 'lru', onLeft } = this.#options;
    const putBytes = this.#putBytes;
    this.#tried = { at: this.#options.clock.now(), failed: true };
    const request: TierQuestion = { ask: 'tidy', quotaBytes, policy, uses: known.map(asKnown) };
    const answer = await this.#link.ask(request, tidyTimeoutMs);
    if (answer?.is === 'tidy') {
      this.#tried.failed = false;
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
