import type { FileRef } from '../cache/file-origin.js';
import type { Digest } from '../digest.js';
import { type HotRun, type Touch, touchesMax } from './hot-list.js';

/** Collects what one run touches: reads that had to be waited for, and what was brought ahead of it. */
export class HotRecording {
  readonly #startedAt = performance.now();
  readonly #touches: Touch[] = [];
  /** Of each file, the touch that a neighbour would go on from. */
  readonly #last = new Map<Digest, number>();
  #missed = 0;
  /** When the start was over, in milliseconds from its beginning. */
  #endedAt: number | undefined;

  /** Reads that had to be waited for. */
  get missed(): number {
    return this.#missed;
  }

  /** Of the start; up to now while it goes on. */
  get milliseconds(): number {
    return this.#endedAt ?? Math.round(performance.now() - this.#startedAt);
  }

  /** The start is over: what follows is passed over. */
  close(): void {
    this.#endedAt ??= this.milliseconds;
  }

  /** Somebody reads what nobody has brought. */
  miss(file: FileRef, offset: number, length: number): void {
    if (this.#endedAt !== undefined) return;
    this.#missed += 1;
    this.#add(file, offset, length);
  }

  /** It was brought before anybody could be seen to read it: it counts as read. */
  brought(file: FileRef, offset: number, length: number): void {
    this.#add(file, offset, length);
  }

  run(): HotRun {
    return { touches: this.#touches };
  }

  #add({ content, size }: FileRef, offset: number, length: number): void {
    const end = Math.min(offset + length, size);
    if (offset >= end) return;
    const at = this.#last.get(content);
    const last = at === undefined ? undefined : this.#touches[at];
    if (at !== undefined && last && last.offset + last.length === offset) {
      this.#touches[at] = { ...last, length: end - last.offset };
      return;
    }
    if (this.#touches.length >= touchesMax) return;
    const milliseconds = Math.round(performance.now() - this.#startedAt);
    this.#last.set(content, this.#touches.length);
    this.#touches.push({ content, size, offset, length: end - offset, milliseconds });
  }
}
