import { mapBounded } from '../cache/bounded.js';
import { collect } from '../store/byte-stream.js';
import type { Blob } from '../store/store.js';
import { blobParts } from './blob-parts.js';
import type { Piece } from './piece.js';
import { type FetchName, fetchName } from './pop-keys.js';
import type { SiteFetch } from './site-fetch.js';

/** Bytes of a layer that one node fetches for the site at a time. */
const stretchBytes = 1024 * 1024;
/** Stretches on their way at a time: as many bytes as a fast link holds. */
const aheadMax = 4;
/** Milliseconds without a byte after which others try. */
const stallMs = 1500;
/** Parts that are taken away at a time. */
const takingAwayMax = 8;

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** A layer as its registry has it. */
export interface LayerOrigin {
  /** Its compressed bytes. */
  readonly blob: Blob;
  /** Bytes of it, not verified. */
  open(signal: AbortSignal, range: ByteRange): AsyncIterable<Buffer>;
  /** Whether it gives a part without all that is before it. */
  knowsRanges(): boolean;
}

/**
 * One layer of an image that is pulled in full, from the nodes of the site or its registry: nodes that
 * pull at the same time take turns, stretch by stretch. Its bytes have no digest before the last of them:
 * who reads them verifies the whole, and begins anew if that is wrong. Then they come from the registry
 * alone, and what the site has of them is taken away.
 */
export class PopLayer {
  readonly #origin: LayerOrigin;
  readonly #site: SiteFetch;
  /** Bytes of its beginning that were read. */
  #reached = 0;
  #siteIs: 'trusted' | 'suspect' = 'trusted';

  constructor(origin: LayerOrigin, site: SiteFetch) {
    this.#origin = origin;
    this.#site = site;
  }

  async *open(signal: AbortSignal, { offset, length }: ByteRange): AsyncGenerator<Buffer> {
    if (offset < this.#reached) await this.#distrust();
    const source = this.#isShared()
      ? this.#shared(signal, offset, offset + length)
      : this.#origin.open(signal, { offset, length });
    let at = offset;
    for await (const bytes of source) {
      at += bytes.length;
      this.#reached = Math.max(this.#reached, at);
      yield bytes;
    }
  }

  #isShared(): boolean {
    return this.#siteIs === 'trusted' && this.#site.ready && this.#origin.knowsRanges();
  }

  /** Its stretches in order, some of them ahead. */
  async *#shared(signal: AbortSignal, start: number, end: number): AsyncGenerator<Buffer> {
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    const coming: { readonly from: number; readonly bytes: Promise<Buffer> }[] = [];
    let next = start - (start % stretchBytes);
    try {
      while (next < end || coming.length > 0) {
        for (; next < end && coming.length < aheadMax; next += stretchBytes) {
          const bytes = this.#stretch(next, either);
          bytes.catch(() => undefined); // is thrown in its turn
          coming.push({ from: next, bytes });
        }
        const first = coming.shift();
        if (!first) return;
        const bytes = await first.bytes;
        yield bytes.subarray(Math.max(start - first.from, 0), end - first.from);
      }
    } finally {
      stop.abort();
      await Promise.allSettled(coming.map(({ bytes }) => bytes));
    }
  }

  #stretch(offset: number, signal: AbortSignal): Promise<Buffer> {
    const { blob } = this.#origin;
    const length = Math.min(stretchBytes, blob.size - offset);
    const parts = blobParts(blob, offset, length);
    let cameAt = Number.POSITIVE_INFINITY;
    const piece: Piece<Buffer> = {
      name: fetchName('layer', `${blob.digest} ${blob.size} ${offset}`),
      parts: parts.map(({ name }) => name),
      whole: true,
      background: () => false,
      read: async (pieces) => {
        const bytes = Buffer.concat(pieces);
        return bytes.length === length ? bytes : undefined;
      },
      fetch: async () => {
        cameAt = performance.now();
        const source = this.#origin.open(signal, { offset, length });
        const value = await collect(source, length, `layer ${blob.digest}`);
        return { value, parts: parts.map(({ start, end }) => value.subarray(start, end)) };
      },
      stuck: () => performance.now() - cameAt > stallMs,
    };
    return this.#site.get(piece, signal);
  }

  /** Somewhere in what was read is something wrong. */
  async #distrust(): Promise<void> {
    if (this.#siteIs === 'suspect') return;
    this.#siteIs = 'suspect';
    const names: FetchName[] = blobParts(this.#origin.blob, 0, this.#reached).map(
      ({ name }) => name,
    );
    await mapBounded(names, takingAwayMax, (name) => this.#site.takeAway(name));
  }
}
