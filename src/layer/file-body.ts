import type { FileLayout, Segment } from './sparse-map.js';
import type { TarEvent } from './tar-event.js';

/** Turns the stored bytes of one file into `data` and `hole` events, and the last `end-of-file`. */
export class FileBody {
  readonly #segments: readonly Segment[];
  readonly #size: number;
  #segment = 0;
  #position = 0;
  #done = false;

  constructor({ size, segments }: FileLayout) {
    this.#size = size;
    this.#segments = segments;
  }

  /** All stored bytes are in, and the end is told. */
  get done(): boolean {
    return this.#done;
  }

  /** Tells the holes up to the next stored byte; at once the end if nothing is stored. */
  start(events: TarEvent[]): void {
    for (;;) {
      const segment = this.#segments[this.#segment];
      if (segment !== undefined && segment.length === 0) {
        this.#segment += 1;
        continue;
      }
      this.#passHole(segment?.offset ?? this.#size, events);
      if (segment !== undefined) return;
      this.#done = true;
      events.push({ type: 'end-of-file' });
      return;
    }
  }

  /** Takes stored bytes from `at` on. @returns where it stopped */
  push(bytes: Buffer, at: number, events: TarEvent[]): number {
    const segment = this.#segments[this.#segment];
    if (segment === undefined) return at;
    const left = segment.offset + segment.length - this.#position;
    const end = Math.min(at + left, bytes.length);
    events.push({ type: 'data', bytes: bytes.subarray(at, end) });
    this.#position += end - at;
    if (end - at === left) {
      this.#segment += 1;
      this.start(events);
    }
    return end;
  }

  #passHole(end: number, events: TarEvent[]): void {
    if (end > this.#position) events.push({ type: 'hole', length: end - this.#position });
    this.#position = end;
  }
}
