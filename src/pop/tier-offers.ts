import type { SharedOffer } from '../cache/shared-files.js';
import type { Digest } from '../digest.js';

/**
 * Files that wait one by one, a path in memory for each; lists of them that wait, and files of all lists, of
 * which 40 bytes are in memory: one list alone may be longer.
 */
const filesMax = 16_384;
const listsMax = 64;
const listedMax = 500_000;

interface OfferList {
  readonly offers: AsyncIterator<SharedOffer>;
  /** Files that it has yet, at most. */
  left: number;
}

/**
 * What is to be put into the shared tier. A list, of an image of a hundred thousand files say, is looked
 * into only when nothing else waits: what it costs is in what it is drawn from.
 */
export class TierOffers {
  readonly #files = new Map<Digest, SharedOffer>();
  readonly #lists: OfferList[] = [];

  /** Files that wait, at most: those of lists may have left this node. */
  get size(): number {
    return this.#files.size + this.#listed;
  }

  get #listed(): number {
    return this.#lists.reduce((sum, { left }) => sum + left, 0);
  }

  /** One that finds no room is passed over. */
  add(offer: SharedOffer): void {
    if (this.#files.size < filesMax) this.putBack(offer);
  }

  /** One that finds no room is passed over. @param count of files that it has at most */
  addList(list: AsyncIterable<SharedOffer>, count: number): void {
    const fits = this.#lists.length === 0 || this.#listed + count <= listedMax;
    if (!fits || this.#lists.length >= listsMax) return;
    this.#lists.push({ offers: list[Symbol.asyncIterator](), left: count });
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
      const drawn = await list.offers.next();
      list.left = Math.max(0, list.left - 1);
      if (!drawn.done) return drawn.value;
      if (this.#lists[0] === list) this.#lists.shift();
    }
    return undefined;
  }
}
