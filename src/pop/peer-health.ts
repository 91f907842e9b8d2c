import type { Clock } from '../store/clock.js';

/** Answers of which the times are remembered. */
const timesMax = 64;
/** Bounds, in milliseconds, of the time after which another is asked besides; without any times. */
const hedgeMinMs = 10;
const hedgeMaxMs = 500;
const hedgeUnknownMs = 100;
/** Failures in a row after which it is left alone, and for how many milliseconds: doubled each time. */
const failuresMax = 3;
const restMinMs = 1000;
const restMaxMs = 30_000;
/** Milliseconds after an answer in which it is known to live. */
const answersMs = 2000;
/** Milliseconds for which one that is busy is passed over. */
const busyMs = 100;
/** Wrong answers after which it is banned, and for how many milliseconds. */
const wrongMax = 3;
const banMs = 600_000;

/** How one peer has answered. */
export class PeerHealth {
  readonly #clock: Clock;
  readonly #times: number[] = [];
  #at = 0;
  #failures = 0;
  /** When the last failure was counted. */
  #failedAt = Number.NEGATIVE_INFINITY;
  #restMs = restMinMs;
  #wrong = 0;
  #notBefore = Number.NEGATIVE_INFINITY;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #bannedUntil = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether it is asked now; after its rest one failure is enough for the next. */
  get usable(): boolean {
    return this.#clock.now() >= this.#notBefore && !this.banned;
  }

  get banned(): boolean {
    return this.#clock.now() < this.#bannedUntil;
  }

  /** Whether it is asked for what it is known to have: also if it is late, as long as it answers. */
  get usableIfSure(): boolean {
    return this.usable || (!this.banned && this.#clock.now() - this.#answeredAt < answersMs);
  }

  /** Milliseconds after which an answer is later than 19 of 20. */
  get hedgeMs(): number {
    if (this.#times.length === 0) return hedgeUnknownMs;
    const sorted = [...this.#times].sort((a, b) => a - b);
    const late = sorted[Math.floor(sorted.length * 0.95)] ?? hedgeUnknownMs;
    return Math.min(Math.max(late, hedgeMinMs), hedgeMaxMs);
  }

  answered(milliseconds: number): void {
    this.#took(milliseconds);
    this.#answeredAt = this.#clock.now();
    this.#failures = 0;
    this.#restMs = restMinMs;
  }

  busy(): void {
    this.#rest(busyMs);
  }

  /** @param since when it was asked: what failed at the same time has failed once */
  failed(since = this.#clock.now()): void {
    if (since < this.#failedAt) return;
    this.#failedAt = this.#clock.now();
    this.#failures += 1;
    if (this.#failures < failuresMax) return;
    this.#rest(this.#restMs);
    this.#restMs = Math.min(2 * this.#restMs, restMaxMs);
  }

  /** It was given up after so long. */
  late(milliseconds: number): void {
    this.#took(milliseconds);
    this.failed(this.#clock.now() - milliseconds);
  }

  #took(milliseconds: number): void {
    this.#times[this.#at] = milliseconds;
    this.#at = (this.#at + 1) % timesMax;
  }

  /** It gave bytes that are not what they should be. */
  lied(): void {
    this.#wrong += 1;
    if (this.#wrong < wrongMax) return;
    this.#wrong = 0;
    this.#bannedUntil = this.#clock.now() + banMs;
  }

  #rest(milliseconds: number): void {
    this.#notBefore = Math.max(this.#notBefore, this.#clock.now() + milliseconds);
  }
}
