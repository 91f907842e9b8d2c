import type { ByteString } from '../byte-string.js';
import { malformedLayer } from './malformed-layer.js';
import { noRecords, parsePaxRecords } from './pax-records.js';
import type { Extensions } from './tar-entry.js';
import { textAt } from './tar-header.js';

/**
 * Gathers what PAX and GNU headers say about the entry behind them. Of several of a kind the last
 * one wins (L18), as in Go; global records add up and hold for all later entries (L17).
 */
export class PendingExtensions {
  readonly #global = new Map<string, string>();
  #globalBytes = 0;
  #next = nothingKnown;

  /** Nothing waits for its entry. */
  get empty(): boolean {
    return this.#next === nothingKnown;
  }

  /** @param type of the header: `x`, `X`, `g`, `L` or `K` @throws ThinError `corrupt` */
  add(type: string, body: Buffer): void {
    if (type === 'g') this.#addGlobal(body);
    else if (type === 'L') this.#next = { ...this.#next, longName: textOf(body) };
    else if (type === 'K') this.#next = { ...this.#next, longTarget: textOf(body) };
    else this.#next = { ...this.#next, own: parsePaxRecords(body) };
  }

  /** For the entry that has come. */
  take(): Extensions {
    const { own, longName, longTarget } = this.#next;
    this.#next = nothingKnown;
    return { global: this.#global, own, longName, longTarget };
  }

  #addGlobal(body: Buffer): void {
    // Go forgets the extended header in front of a global one, GNU tar keeps it.
    if (!this.empty) throw malformedLayer('a global header is between an entry and its header');
    this.#globalBytes += body.length;
    if (this.#globalBytes > globalBytesMax) {
      throw malformedLayer(`its global headers have more than ${globalBytesMax} bytes`);
    }
    for (const [key, value] of parsePaxRecords(body)) {
      if (key.startsWith('GNU.sparse.') || oneEntryKeys.has(key)) {
        throw malformedLayer(`a global header sets ${JSON.stringify(key.slice(0, 40))}`);
      }
      this.#global.set(key, value);
    }
  }
}

const nothingKnown: Omit<Extensions, 'global'> = {
  own: noRecords,
  longName: undefined,
  longTarget: undefined,
};

/** Bytes of all global headers: they are looked at again for every entry. */
const globalBytesMax = 16 * 1024;

/**
 * What says which bytes are whose cannot hold for all entries. Go's reader, and so containerd,
 * ignores global headers; where that would shift content or names, the layer is refused.
 */
const oneEntryKeys: ReadonlySet<string> = new Set(['path', 'linkpath', 'size']);

/** Up to the first NUL; an empty name says nothing. */
function textOf(body: Buffer): ByteString | undefined {
  const text = textAt(body, 0, body.length);
  return text === '' ? undefined : text;
}
