import type { FastTier } from '../cache/bulk-place.js';
import { localTier } from '../cache/layout.js';
import { type LayerLeft, lastLayer } from './last-layer.js';

/** Plain bytes for a compressed one that a layer is taken to have: few have more. */
const ratioGuess = 4;

/** What a choice is made of. */
export interface TierOutlook {
  readonly layers: readonly (LayerLeft & { readonly size: number })[];
  /** Indices of the layers, as they begin. */
  readonly order: readonly number[];
  readonly streams: number;
  readonly fast: FastTier | undefined;
}

/** What layers of all pulls may still take of the fast tier. */
export class TierPromises {
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** To be disposed when they are taken. */
  promise(bytes: number): Disposable {
    this.#bytes += bytes;
    let given = bytes;
    return {
      [Symbol.dispose]: () => {
        this.#bytes -= given;
        given = 0;
      },
    };
  }
}

/**
 * In which tier each layer of a pull is stored. What is stored when the last byte has come is what the
 * user waits for: the layer that ends last, and those above it, go to the fast tier as long as it has
 * room, all others to the local one. Decided when a layer begins, by what is known then.
 */
export class TierChoice {
  readonly #promises: TierPromises;
  /** The last prediction: when nothing is to come any more, it holds. */
  #last = 0;

  constructor(promises: TierPromises) {
    this.#promises = promises;
  }

  /** @returns the tier, and what gives back its promise when the layer is stored */
  choose(
    index: number,
    { layers, order, streams, fast }: TierOutlook,
  ): Disposable & { tier: string } {
    this.#last = lastLayer(layers, order, streams) ?? this.#last;
    const bytes = (layers[index]?.size ?? 0) * ratioGuess;
    const fits = fast !== undefined && bytes <= fast.roomBytes - this.#promises.bytes;
    if (!fits || index < this.#last) return { tier: localTier, [Symbol.dispose]: () => undefined };
    return { tier: fast.name, ...this.#promises.promise(bytes) };
  }
}
