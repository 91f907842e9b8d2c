import { LRUCache } from 'lru-cache';
import type { FileRef } from '../cache/file-origin.js';
import { digestHex } from '../digest.js';
import type { SharedTierLink } from './shared-tier-link.js';
import { packList } from './tier-lists.js';

/** Milliseconds for a list to be written. */
const listTimeoutMs = 60_000;
/** Images that are known to be listed there. */
const listedMax = 1000;
/** Images whose lists wait until they can be written: of some hundred KB each. */
const unlistedMax = 32;

/** Sees to it that the tier knows which files the images have that are mounted here. */
export class TierListing {
  readonly #link: Pick<SharedTierLink, 'ask'>;
  readonly #listed = new LRUCache<string, boolean>({ max: listedMax });
  readonly #unlisted = new Map<string, Buffer>();
  #listing: boolean;

  constructor(link: Pick<SharedTierLink, 'ask'>) {
    this.#link = link;
    this.#listing = false;
  }

  add(image: string, files: readonly FileRef[]): void {
    if (this.#listed.has(image) || this.#unlisted.size >= unlistedMax) return;
    const list = packList(files.map(({ content, size }) => ({ hex: digestHex(content), size })));
    this.#unlisted.set(image, list);
  }

  /** Images have left the tier. */
  forget(): void {
    this.#listed.clear();
  }

  /**
   * Writes what waits, until one cannot be written, which is the last then: to be called again. Never
   * fails.
   */
  async list(): Promise<void> {
    if (this.#listing) return;
    this.#listing = true;
    for (const [image, list] of this.#unlisted) {
      if (await this.#list(image, list)) continue;
      this.#unlisted.delete(image);
      this.#unlisted.set(image, list);
      break;
    }
    this.#listing = false;
  }

  /** Without it what is there is nobody's, and leaves first. */
  async #list(image: string, list: Buffer): Promise<boolean> {
    const there = await this.#link.ask({ ask: 'listed', image }, listTimeoutMs);
    const answer =
      there?.is === 'absent'
        ? await this.#link.ask({ ask: 'list', image, list }, listTimeoutMs)
        : there;
    if (answer?.is !== 'stored' && answer?.is !== 'there') return false;
    this.#unlisted.delete(image);
    this.#listed.set(image, true);
    return true;
  }
}
