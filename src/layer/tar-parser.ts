import { isThinError, ThinError } from '../errors.js';
import { limits } from '../limits.js';
import { FileBody } from './file-body.js';
import { malformedLayer } from './malformed-layer.js';
import { PendingExtensions } from './pending-extensions.js';
import {
  type FileLayout,
  hasSparseRecords,
  layoutOfRecords,
  OldSparseMap,
  type SparseMapBlocks,
  SparseMapLines,
  sparseFormOf,
  wholeFile,
} from './sparse-map.js';
import { type Described, decodeEntry, storedSize } from './tar-entry.js';
import type { TarEvent } from './tar-event.js';
import { blockSize, decodeHeader, isZeroBlock, type TarHeader } from './tar-header.js';

/** Bounds that a test can lower. */
export interface TarBounds {
  readonly entriesMax: number;
  readonly fileBytesMax: number;
  /** Of all files together. */
  readonly holeBytesMax: number;
}

/**
 * The rest of the way from one header to the next:
 * - `block`: gathering `length` bytes of a header, a header's body or a sparse map, for `use`
 * - `data`: inside a file's stored bytes, `padding` behind them
 * - `skip`: passing over `left` bytes; `optional` if the archive may end there (padding)
 * - `ended`: behind the end of the archive, where nothing is content any more
 */
type Phase = GatherPhase | DataPhase | SkipPhase | { readonly kind: 'ended' };
type UseBlock = (block: Buffer, events: TarEvent[]) => Phase;
type GatherPhase = { readonly kind: 'block'; readonly length: number; readonly use: UseBlock };
type DataPhase = { readonly kind: 'data'; readonly body: FileBody; readonly padding: number };
type SkipPhase = { readonly kind: 'skip'; left: number; readonly optional: boolean };

/**
 * Reads a layer's archive: V7, ustar, star, GNU and PAX, however it is cut into pieces. Pure and
 * synchronous, in time linear in the input; it holds one header with its body (at most 1 MiB), the
 * global records and one sparse map.
 *
 * | type | is read as |
 * | --- | --- |
 * | `0` NUL `7` | file (with NUL and a trailing slash: a directory, as V7 wrote them) |
 * | `1` `2` `3` `4` `5` `6` | hard link, symlink, character, block, directory, FIFO: no data behind the header whatever its size says, as Go's archive/tar has it |
 * | `S` | sparse file, old GNU form |
 * | `x` `X` `g` `L` `K` | PAX (`X`: Solaris' name for `x`), PAX global, GNU long name and target |
 * | `D` | GNU dump directory: a directory, its list of names skipped |
 * | `V` `A` `E` `I` `N` | volume label, Solaris ACL and attribute file, star inode, old GNU names: skipped with their data |
 * | `M` | the rest of a file of another volume: refused |
 * | others | file, as POSIX asks and GNU tar, bsdtar and Python do (containerd refuses them) |
 *
 * The archive ends with two zero blocks, or where its bytes end between two entries. A single zero
 * block with more behind it is refused: readers disagree on whether that is the end.
 */
export class TarParser {
  readonly #bounds: TarBounds;
  readonly #betweenEntries: GatherPhase;
  readonly #pending = new PendingExtensions();
  #phase: Phase;
  #carry = Buffer.alloc(0);
  #carried = 0;
  #position = 0;
  #zeroBlocks = 0;
  #entries = 0;
  #skipped = '';
  #holeBytes = 0;
  #failure: unknown;

  constructor(bounds: Partial<TarBounds> = {}) {
    this.#bounds = { ...limits, ...bounds };
    this.#betweenEntries = {
      kind: 'block',
      length: blockSize,
      use: (block, events) => this.#onHeader(block, events),
    };
    this.#phase = this.#betweenEntries;
  }

  /** The types of the entries that were skipped, to be told to whoever looks for them. */
  get skipped(): string {
    return this.#skipped;
  }

  /** @throws ThinError `corrupt`; after that, every call throws the same. */
  push(bytes: Buffer): TarEvent[] {
    if (this.#failure !== undefined) throw this.#failure;
    const events: TarEvent[] = [];
    try {
      for (let at = 0; at < bytes.length; ) {
        const next = this.#step(bytes, at, events);
        this.#position += next - at;
        at = next;
      }
    } catch (error) {
      throw this.#fail(error);
    }
    return events;
  }

  /** No more bytes come. @throws ThinError `corrupt` if that is in the middle of something */
  end(): TarEvent[] {
    if (this.#failure !== undefined) throw this.#failure;
    const phase = this.#phase;
    const between = phase === this.#betweenEntries && this.#carried === 0 && this.#pending.empty;
    const complete = between || phase.kind === 'ended' || (phase.kind === 'skip' && phase.optional);
    if (!complete) throw this.#fail(malformedLayer('the archive ends in the middle of an entry'));
    return [];
  }

  #fail(error: unknown): unknown {
    this.#failure = isThinError(error)
      ? new ThinError(error.code, `${error.message}, near byte ${this.#position} of the archive`)
      : error;
    return this.#failure;
  }

  #step(bytes: Buffer, at: number, events: TarEvent[]): number {
    const phase = this.#phase;
    switch (phase.kind) {
      case 'block':
        return this.#gather(phase, bytes, at, events);
      case 'data': {
        const next = phase.body.push(bytes, at, events);
        if (phase.body.done) this.#phase = this.#skip(phase.padding, true);
        return next;
      }
      case 'skip': {
        const passed = Math.min(phase.left, bytes.length - at);
        phase.left -= passed;
        if (phase.left === 0) this.#phase = this.#betweenEntries;
        return at + passed;
      }
      case 'ended':
        return bytes.length;
    }
  }

  /** Hands `length` bytes in one piece to the phase: a view if they are, else a copy. */
  #gather(phase: GatherPhase, bytes: Buffer, at: number, events: TarEvent[]): number {
    const end = Math.min(at + phase.length - this.#carried, bytes.length);
    if (end - at === phase.length) {
      this.#phase = phase.use(bytes.subarray(at, end), events);
      return end;
    }
    if (this.#carried === 0) this.#carry = Buffer.allocUnsafe(phase.length);
    bytes.copy(this.#carry, this.#carried, at, end);
    this.#carried += end - at;
    if (this.#carried === phase.length) {
      this.#carried = 0;
      this.#phase = phase.use(this.#carry, events);
    }
    return end;
  }

  #skip(left: number, optional: boolean): Phase {
    return left === 0 ? this.#betweenEntries : { kind: 'skip', left, optional };
  }

  #onHeader(block: Buffer, events: TarEvent[]): Phase {
    if (isZeroBlock(block)) return this.#onZeroBlock();
    if (this.#zeroBlocks > 0) throw malformedLayer('a header follows a single zero block');
    const header = decodeHeader(block);
    switch (header.type) {
      case 'x':
      case 'X':
      case 'g':
      case 'L':
      case 'K':
        return this.#gatherExtension(header);
      case 'M':
        throw malformedLayer('the archive continues one of another volume');
      case 'V':
      case 'A':
      case 'E':
      case 'I':
      case 'N':
        if (!this.#skipped.includes(header.type)) this.#skipped += header.type;
        return this.#skipData({ header, extensions: this.#pending.take() });
      default:
        return this.#onEntry(header, block, events);
    }
  }

  #onZeroBlock(): Phase {
    if (!this.#pending.empty) throw malformedLayer('the archive ends behind an extended header');
    this.#zeroBlocks += 1;
    return this.#zeroBlocks === 2 ? { kind: 'ended' } : this.#betweenEntries;
  }

  #gatherExtension(header: TarHeader): Phase {
    if (header.size > limits.tarHeaderBytesMax) {
      throw malformedLayer(
        `an extended header has ${header.size} bytes (wanted at most ${limits.tarHeaderBytesMax})`,
      );
    }
    const use = (body: Buffer) => {
      this.#pending.add(header.type, body.subarray(0, header.size));
      return this.#betweenEntries;
    };
    if (header.size === 0) return use(Buffer.alloc(0));
    return { kind: 'block', length: header.size + paddingOf(header.size), use };
  }

  /** What is skipped must be there; only its padding need not. */
  #skipData(described: Described): Phase {
    const stored = storedSize(described);
    if (stored > this.#bounds.fileBytesMax) throw this.#tooLong(stored);
    return this.#skip(stored + paddingOf(stored), false);
  }

  #onEntry(header: TarHeader, block: Buffer, events: TarEvent[]): Phase {
    this.#entries += 1;
    if (this.#entries > this.#bounds.entriesMax) {
      throw malformedLayer(`it has more than ${this.#bounds.entriesMax} entries`);
    }
    const described = { header, extensions: this.#pending.take() };
    if (!fileless.has(header.type)) return this.#onFile(described, block, events);
    if (hasSparseRecords(described.extensions.own))
      throw malformedLayer('a sparse entry is no file');
    events.push({ type: 'entry', entry: decodeEntry(described, 0) });
    return header.type === 'D' ? this.#skipData(described) : this.#betweenEntries;
  }

  #onFile(described: Described, block: Buffer, events: TarEvent[]): Phase {
    const { header, extensions } = described;
    const stored = storedSize(described);
    if (header.type === 'S') {
      const map = new OldSparseMap(block, stored);
      return map.layout === undefined
        ? this.#gatherMap(described, map)
        : this.#startFile(described, map.layout, events);
    }
    switch (sparseFormOf(extensions.own)) {
      case undefined:
        return this.#startFile(described, wholeFile(stored), events);
      case 'records':
        return this.#startFile(described, layoutOfRecords(extensions.own, stored), events);
      case 'lines':
        return this.#gatherMap(described, new SparseMapLines(extensions.own, stored));
    }
  }

  #gatherMap(described: Described, map: SparseMapBlocks): Phase {
    const phase: GatherPhase = {
      kind: 'block',
      length: blockSize,
      use: (block, events) => {
        const layout = map.push(block);
        return layout === undefined ? phase : this.#startFile(described, layout, events);
      },
    };
    return phase;
  }

  #startFile(described: Described, layout: FileLayout, events: TarEvent[]): Phase {
    const { size, stored } = layout;
    if (size > this.#bounds.fileBytesMax) throw this.#tooLong(size);
    this.#holeBytes += size - stored;
    if (this.#holeBytes > this.#bounds.holeBytesMax) {
      throw malformedLayer(`its files have more than ${this.#bounds.holeBytesMax} bytes of holes`);
    }
    events.push({ type: 'entry', entry: decodeEntry(described, size) });
    const body = new FileBody(layout);
    body.start(events);
    if (body.done) return this.#betweenEntries;
    return { kind: 'data', body, padding: paddingOf(stored) };
  }

  #tooLong(size: number): ThinError {
    return malformedLayer(
      `an entry has ${size} bytes (wanted at most ${this.#bounds.fileBytesMax})`,
    );
  }
}

/** Types with no content of their own. */
const fileless: ReadonlySet<string> = new Set(['1', '2', '3', '4', '5', '6', 'D']);

/** Bytes up to the next whole block. */
function paddingOf(size: number): number {
  return (blockSize - (size % blockSize)) % blockSize;
}
