import { closeSync, constants, openSync } from 'node:fs';
import type { PartialView } from '../cache/partial-view.js';
import { DescriptorCache } from './descriptor-cache.js';
import { readFully } from './read-fully.js';

/** Files one thread knows in part, and keeps open. */
export const partialViewsMax = 128;

/**
 * Reads what is here, and verified, of files that are not complete. By node and not by content: two
 * images may say different things about the chunks of a content, and each gets its own.
 */
export class PartialReads {
  readonly #views = new Map<number, PartialView>();
  readonly #descriptors = new DescriptorCache<number>(partialViewsMax);

  add(node: number, view: PartialView): void {
    this.remove(node);
    this.#views.set(node, view);
    const [oldest] = this.#views.keys();
    if (this.#views.size > partialViewsMax && oldest !== undefined) this.remove(oldest);
  }

  remove(node: number): void {
    this.#views.delete(node);
    this.#descriptors.delete(node);
  }

  /** Fills `target` from `offset` of a file of `size` bytes. False if not all of it is here. */
  read(node: number, size: number, offset: number, target: Buffer): boolean {
    const view = this.#views.get(node);
    if (view?.size !== size || !isVerified(view, offset, offset + target.length)) return false;
    const descriptor = this.#descriptors.get(node) ?? this.#open(node, view);
    return descriptor !== undefined && readFully(descriptor, offset, target);
  }

  close(): void {
    this.#views.clear();
    this.#descriptors.clear();
  }

  #open(node: number, view: PartialView): number | undefined {
    const descriptor = openNamed(view);
    if (descriptor === undefined) this.#views.delete(node);
    else this.#descriptors.set(node, descriptor);
    return descriptor;
  }
}

/** True if every chunk of bytes `offset` to `end` is verified. */
function isVerified({ starts, verified }: PartialView, offset: number, end: number): boolean {
  for (let chunk = chunkAt(starts, offset); (starts[chunk] ?? end) < end; chunk++) {
    const word = Atomics.load(verified, chunk >>> 5);
    if ((word & (1 << (chunk & 31))) === 0) return false;
  }
  return true;
}

/** The last chunk that does not begin behind `offset`. */
function chunkAt(starts: Float64Array, offset: number): number {
  let low = 0;
  let high = starts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Nothing if the path may already name something else. */
function openNamed({ path, named }: PartialView): number | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
  if (Atomics.load(named, 0) === 1) return descriptor;
  closeSync(descriptor);
  return undefined;
}
