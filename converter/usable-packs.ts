import type { Pack } from '../src/chunk/frame.js';
import type { Digest } from '../src/digest.js';
import { isThinError } from '../src/errors.js';
import { inParallel } from '../src/thin/parallel.js';
import type { Target } from './target.js';

/** Questions of a store at a time: each is one round trip. */
const questionsMax = 8;

/**
 * The packs that an image may refer to: its own, and older ones that the store is found to have, or
 * brings over from another repository. It is asked when a chunk of a pack is first wanted, as an
 * index may know thousands that are not.
 */
export class UsablePacks {
  readonly #target: Target;
  readonly #olderMax: number;
  readonly #signal: AbortSignal;
  readonly #answers = new Map<Digest, boolean | Promise<boolean>>();
  readonly #packs = new Map<Digest, Pack>();
  #older: number = 0;

  /** @param olderMax packs of other images that this one may refer to */
  constructor(target: Target, olderMax: number, signal: AbortSignal) {
    this.#target = target;
    this.#olderMax = olderMax;
    this.#signal = signal;
  }

  /** A pack of this image, which is on its way to the store. */
  add(pack: Pack): void {
    this.#answers.set(pack.digest, true);
    this.#packs.set(pack.digest, pack);
  }

  /** A pack that may be referred to. */
  get(digest: Digest): Pack | undefined {
    return this.#packs.get(digest);
  }

  /** Whether the image may refer to a pack; at once if that was asked before. */
  ask(pack: Pack): boolean | Promise<boolean> {
    const answer = this.#answers.get(pack.digest);
    if (answer !== undefined) return answer;
    const asked = this.#ask(pack);
    this.#answers.set(pack.digest, asked);
    return asked;
  }

  /** Whether the image may refer to all of some packs. */
  async askAll(packs: readonly Pack[]): Promise<boolean> {
    let usable = true;
    await inParallel(packs, questionsMax, this.#signal, async (pack) => {
      if (usable && !(await this.ask(pack))) usable = false;
    });
    return usable;
  }

  async #ask(pack: Pack): Promise<boolean> {
    this.#older += 1;
    const usable = this.#older <= this.#olderMax && (await this.#isInStore(pack));
    if (usable) this.add(pack);
    else {
      this.#older -= 1;
      this.#answers.set(pack.digest, false);
    }
    return usable;
  }

  async #isInStore(pack: Pack): Promise<boolean> {
    const { store, place, index } = this.#target;
    const isThere = await store.hasBlob(pack, this.#signal);
    if (isThere || (await this.#mount(pack))) {
      index.packs.addPlace(place, pack.digest);
      return true;
    }
    index.packs.removePlace(place, pack.digest);
    return false;
  }

  async #mount(pack: Pack): Promise<boolean> {
    const { store, place, index } = this.#target;
    if (store.mountBlob === undefined) return false;
    for (const repository of index.packs.repositoriesOf(place.store, pack.digest)) {
      if (repository === place.repository) continue;
      try {
        if (await store.mountBlob(pack, repository, this.#signal)) return true;
      } catch (error) {
        // Not ours to read there, or gone: the pack is made here.
        if (!isThinError(error, 'denied', 'not-found', 'invalid')) throw error;
      }
    }
    return false;
  }
}
