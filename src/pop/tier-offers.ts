import type { SharedOffer } from '../cache/shared-files.js';
import type { Digest } from '../digest.js';

/** Files that wait one by one, a path in memory for each, and lists of them that wait. */
const filesMax = 16_384;
const listsMax = 64;

/**
 * What is to be put into the shared tier. A list, of an image of a hundred thousand files say, is looked
 * into only when nothing else waits: what it costs is in what it is drawn from.
 */
export class TierOffers {
  readonly #files = new Map<Digest, SharedOffer>();
  readonly #lists: AsyncIterator<SharedOffer>[] = [];

  /** Files that wait, without those of lists. */
  get size(): number {
    return this.#files.size;
  }

  /** One that finds no room is passed over. */
  add(offer: SharedOffer): void {
    if (this.#files.size < filesMax) this.putBack(offer);
  }

  addList(list: AsyncIterable<SharedOffer>): void {
    if (this.#lists.length < listsMax) this.#lists.push(list[Symbol.asyncIterator]());
  }

  /** One that could not be put waits again. */
  putBack(offer: SharedOffer): void {
    this.#files.set(offer.file.content, offer);
  }

  /** Undefined if nothing waits. */
  async next(): Promise<SharedOffer | undefined> {
    for (const [content, offer] of this.#files) {
      this.#files.delete(content);
      return offer;
    }
    for (let list = this.#lists[0]; list !== undefined; list = this.#lists[0]) {
      const drawn = await list.next();
      if (!drawn.done) return drawn.value;
      if (this.#lists[0] === list) this.#lists.shift();
    }
    return undefined;
  }
}
