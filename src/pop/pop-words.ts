import type { Agreement } from './agreement.js';
import type { FrameShelf } from './frame-shelf.js';
import { homeOf, otherHomes } from './homes.js';
import type { Gift } from './peer-search.js';
import type { Peers } from './peers.js';
import { type FetchName, fetchName } from './pop-keys.js';

/** Words of one subject that the site keeps: each of another node, as few say all there is to say. */
const wordsMax = 4;

/**
 * What nodes know by themselves and tell each other: small, and without a digest, so that nobody can say
 * whether it is right. The home of a word keeps the first that it is given, among the frames.
 */
export class PopWords {
  readonly #agreement: Agreement;
  readonly #peers: Peers;
  readonly #shelf: FrameShelf;

  constructor(agreement: Agreement, peers: Peers, shelf: FrameShelf) {
    this.#agreement = agreement;
    this.#peers = peers;
    this.#shelf = shelf;
  }

  /**
   * What the site's nodes have told of a subject. Never fails.
   * @param read undefined for what it cannot be: that is taken away
   */
  async find<T>(
    subject: string,
    read: (bytes: Buffer) => T | undefined,
    signal: AbortSignal,
  ): Promise<T[]> {
    const names = Array.from({ length: wordsMax }, (_, place) => wordName(subject, place));
    const found = await Promise.all(names.map((name) => this.#find(name, read, signal)));
    return found.filter((word) => word !== undefined);
  }

  /** Tells the site, unless another node in our place has. Never fails. @param bytes up to 1 MiB */
  async tell(subject: string, bytes: Buffer): Promise<void> {
    const { node } = this.#agreement;
    const name = wordName(subject, Number.parseInt(node.slice(0, 6), 16) % wordsMax);
    const home = homeOf(this.#agreement, name);
    if (home?.node === node) await this.#shelf.keep(name, bytes);
    else if (home) await this.#peers.give(name, bytes, home);
  }

  async #find<T>(
    name: FetchName,
    read: (bytes: Buffer) => T | undefined,
    signal: AbortSignal,
  ): Promise<T | undefined> {
    const own = await this.#shelf.get(name);
    const word = own && read(own.bytes);
    if (word !== undefined) return word;
    if (own) await this.#shelf.remove(name);
    const members = this.#agreement.members.list();
    const others = otherHomes(this.#agreement, name);
    let good: T | undefined;
    const isGood = async (gift: Gift) => {
      good ??= read(gift.bytes);
      if (good === undefined) this.#peers.lied(name, gift, members);
      return good !== undefined;
    };
    const question = { name, members: others, isGood, background: () => false };
    await this.#peers.get(question, signal);
    return good;
  }
}

function wordName(subject: string, place: number): FetchName {
  return fetchName('word', `${place} ${subject}`);
}
