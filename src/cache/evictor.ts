import { performance } from 'node:perf_hooks';
import { isThinError } from '../errors.js';
import { mapBounded } from './bounded.js';
import { chooseVictims, type EvictionRound, type EvictionState } from './eviction-policy.js';
import type { EvictionCandidate, UsePosition } from './index-eviction.js';
import type { CacheIndex } from './index-thread.js';
import type { SpaceBudget } from './space-budget.js';

/** Files looked at in one step. */
const pageFiles = 256;
/** Files removed at the same time. */
const removalsInFlight = 4;
/** Milliseconds until a request is heard again after a run that freed nothing. */
const idleMs = 2000;
/** Milliseconds between looks at the budget without a request. */
const lookMs = 5000;

/** What eviction asks of the rest of the cache. */
export interface EvictionTarget extends EvictionState {
  /** Brings the index and the budget up to date. */
  refresh(): Promise<void>;
  /**
   * Where many files wait to be recorded, which takes a core from those who store them: brings only the budget
   * up to date, with what the disk says. @returns false if none wait. Never fails
   */
  measureAlone(): Promise<boolean>;
  remove(file: EvictionCandidate): Promise<void>;
  /** Files of mounted images were removed. Ends when their space is free, as far as it can be. */
  mountedRemoved(): Promise<void>;
  failed(error: unknown): void;
}

/** What has been removed for want of space since the start. */
export interface Evicted {
  evictedFiles: number;
  /** Of disk. */
  evictedBytes: number;
}

/** Keeps a tier inside its budget; runs when asked, and now and then by itself. */
export class Evictor implements AsyncDisposable {
  readonly evicted: Evicted = { evictedFiles: 0, evictedBytes: 0 };
  readonly #tier: string;
  readonly #budget: SpaceBudget;
  readonly #index: CacheIndex;
  readonly #target: EvictionTarget;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #making: Promise<void> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #stopped: boolean;
  #idleUntil = 0;
  #nothingFreeUntil = 0;

  constructor(tier: string, budget: SpaceBudget, index: CacheIndex, target: EvictionTarget) {
    this.#tier = tier;
    this.#budget = budget;
    this.#index = index;
    this.#target = target;
    this.#stopped = false;
  }

  /** Runs now, and from now on by itself. */
  start(): void {
    this.#timer = setInterval(() => void this.#look(), lookMs).unref();
    void this.run();
  }

  async #look(): Promise<void> {
    const recordsWait = await this.#alone(() => this.#target.measureAlone());
    const isEnough = recordsWait && this.#budget.demand.wanted === 0;
    if (!isEnough && !this.#stopped) await this.run();
  }

  /** Runs unless a run a moment ago found nothing that may go. */
  request(): void {
    if (performance.now() >= this.#idleUntil) void this.run();
  }

  /** Evicts until the budget is kept, or nothing more may go. Never fails. */
  run(): Promise<void> {
    this.#running ??= this.#alone(() => this.#run())
      .catch((error: unknown) => this.#target.failed(error))
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  /** Two that remove at the same time would both count what one of them frees. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** Frees `bytes` of files that nothing mounted uses, as far as there are any. Never fails. */
  makeRoom(bytes: number): Promise<void> {
    this.#making ??= this.#alone(() => this.#makeRoom(bytes))
      .catch((error: unknown) => this.#target.failed(error))
      .finally(() => {
        this.#making = undefined;
      });
    return this.#making;
  }

  async #makeRoom(bytes: number): Promise<void> {
    if (performance.now() < this.#nothingFreeUntil) return;
    await this.#target.refresh();
    const freed = await this.#round('free', bytes);
    if (freed === 0) this.#nothingFreeUntil = performance.now() + idleMs;
  }

  async #run(): Promise<void> {
    await this.#target.refresh();
    const free = await this.#round('free', this.#budget.demand.wanted);
    let mounted = await this.#round('mounted', this.#budget.demand.needed);
    mounted += await this.#round('last', this.#budget.demand.needed);
    if (mounted > 0) await this.#target.mountedRemoved();
    if (free + mounted === 0) this.#idleUntil = performance.now() + idleMs;
  }

  /** Walks through the files in order of use, a page at a time, until `bytes` are freed. */
  async #round(round: EvictionRound, bytes: number): Promise<number> {
    let freed = 0;
    let at: UsePosition = { used: 0, id: 0 };
    while (freed < bytes && !this.#stopped) {
      const page = await this.#index.call('candidates', this.#tier, at, pageFiles);
      const last = page.at(-1);
      if (last === undefined) break;
      at = last;
      const victims = chooseVictims(page, bytes - freed, round, this.#target);
      freed += await this.#removeAll(victims);
    }
    return freed;
  }

  /** Removes files that are not in use. @returns bytes freed */
  removeAll(files: readonly EvictionCandidate[]): Promise<number> {
    return this.#alone(() => this.#removeAll(files));
  }

  async #removeAll(files: readonly EvictionCandidate[]): Promise<number> {
    const freed = await mapBounded(files, removalsInFlight, async (file) => {
      if (this.#target.inUse(file) || !(await this.#remove(file))) return 0;
      this.#budget.freed(file.allocated);
      this.evicted.evictedFiles += 1;
      this.evicted.evictedBytes += file.allocated;
      return file.allocated;
    });
    return freed.reduce((sum, bytes) => sum + bytes, 0);
  }

  /** False for one that cannot be removed: it is no reason to keep the others, as a disk that is left alone is. */
  async #remove(file: EvictionCandidate): Promise<boolean> {
    try {
      await this.#target.remove(file);
      return true;
    } catch (error) {
      if (isThinError(error, 'unavailable')) throw error;
      this.#target.failed(error);
      return false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#stopped = true;
    await this.#last;
  }
}
