import { ThinError } from '../errors.js';
import { type EvictionTarget, Evictor } from './evictor.js';
import type { IndexTotals } from './index-files.js';
import type { CacheIndex } from './index-thread.js';
import { SpaceBudget, type SpaceLimits } from './space-budget.js';
import type { Tier } from './tier.js';

/** Part of the quota that is freed at a time for what nobody waits for. */
const roomShare = 0.02;

/** Times the room that is asked for, for those who ask for more than they need. */
const plenty = 8;

/** A tier's room: how much of it is used, and eviction that keeps it so. */
export class TierSpace implements AsyncDisposable {
  readonly tier: Tier;
  readonly budget: SpaceBudget;
  readonly evictor: Evictor;

  /** @param now milliseconds of a clock that never jumps */
  constructor(
    tier: Tier,
    limits: SpaceLimits,
    index: CacheIndex,
    target: EvictionTarget,
    now: () => number,
  ) {
    this.tier = tier;
    this.budget = new SpaceBudget(limits, now);
    this.evictor = new Evictor(tier.name, this.budget, index, target);
  }

  /** May `bytes` more be written? `written` is to follow if so. */
  admit(bytes: number): boolean {
    const admitted = this.budget.admit(bytes);
    if (!admitted || this.budget.demand.needed > 0) this.evictor.request();
    return admitted;
  }

  /** Admits `bytes` where there is room for several times as many. */
  admitEasily(bytes: number): boolean {
    const { limits, usedBytes } = this.budget;
    return usedBytes + plenty * bytes < limits.quotaBytes && this.budget.admit(bytes);
  }

  /**
   * Makes room for `bytes`; `written` is to follow.
   * @throws ThinError `no-space` if there is none and what may go has gone
   */
  async reserve(bytes: number): Promise<void> {
    if (this.budget.admit(bytes)) return;
    this.budget.ask(bytes);
    try {
      // A run that is under way may have begun before it was asked.
      for (let run = 1; run <= 2; run++) {
        await this.evictor.run();
        if (this.budget.admit(bytes)) return;
      }
    } finally {
      this.budget.ask(-bytes);
    }
    const { quotaBytes } = this.budget.limits;
    throw new ThinError(
      'no-space',
      `Cannot store ${bytes} bytes in the cache: ${this.budget.usedBytes} of ${quotaBytes} bytes are in use in tier ${this.tier.name}, and what may go has gone (allow it more space, or remove images)`,
    );
  }

  /** Makes room for `bytes` if that can be had without files of mounted images. */
  async makeRoom(bytes: number): Promise<boolean> {
    if (this.budget.fits(bytes)) return true;
    await this.evictor.makeRoom(Math.max(bytes, this.budget.limits.quotaBytes * roomShare));
    return this.budget.fits(bytes);
  }

  /** Gives back what may go until `bytes` of the disk are free for others. Never fails. */
  async giveBack(bytes: number): Promise<void> {
    await this.measure().catch(() => {});
    if (this.budget.freeBytes >= bytes) return;
    this.budget.ask(bytes);
    try {
      await this.evictor.run();
    } finally {
      this.budget.ask(-bytes);
    }
  }

  written(bytes: number): void {
    this.budget.written(bytes);
  }

  /** The disk has no room in spite of all counting. */
  full(): void {
    this.budget.full();
    this.evictor.request();
  }

  /** What is written from here on is not in the totals that the index tells next. */
  recording(): (totals: IndexTotals) => void {
    const { writtenBytes } = this.budget;
    return ({ tiers }) => this.budget.recorded(tiers[this.tier.name] ?? 0, writtenBytes);
  }

  /** Asks the disk how much is free. */
  async measure(): Promise<void> {
    const { freeBytes } = await this.tier.disk.space(this.tier.directory);
    this.budget.measured(freeBytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.evictor[Symbol.asyncDispose]();
  }
}
