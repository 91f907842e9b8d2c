import { debuglog } from 'node:util';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import { abortable } from './abortable.js';
import { CheckedBlob } from './checked-blob.js';
import { DigestCheck } from './digest-check.js';
import { inflate } from './inflate.js';
import { checkLayerMediaType, codecBytesWanted, codecOf, type LayerCodec } from './layer-codec.js';
import { malformedLayer } from './malformed-layer.js';
import { type PieceMemory, piecesAhead, piecesInTurn } from './piece-memory.js';
import { readAhead } from './read-ahead.js';
import type { TarEvent } from './tar-event.js';
import { TarParser } from './tar-parser.js';

const log = debuglog('thinfs:layer');

export interface ReadLayerOptions {
  /** Of the layer's descriptor; only checked for being a layer's at all, see `codecOf`. */
  readonly mediaType?: string;
  /** What the descriptor promises of the compressed bytes. */
  readonly digest?: string;
  readonly size?: number;
  /** What the image config promises of the plain bytes. */
  readonly diffId?: string;
  /** The bytes of `data` events are only valid until the next batch of events is asked for. */
  readonly reuseBuffers?: boolean;
  /** Where plain bytes are put, if not as `reuseBuffers` says. */
  readonly memory?: PieceMemory;
  readonly signal: AbortSignal;
  /** Called for every piece of plain bytes, with the sums so far. */
  readonly onProgress?: (progress: LayerProgress) => void;
}

export interface LayerProgress {
  readonly compressedBytes: number;
  readonly plainBytes: number;
}

/** Counted and computed by us, whatever was promised. */
export interface LayerSummary extends LayerProgress {
  /** SHA-256 of the bytes as they came. */
  readonly digest: Digest;
  /** SHA-256 of all plain bytes, those behind the end of the archive too (L26). */
  readonly diffId: Digest;
}

/**
 * This folder turns the bytes of one layer into entries and content; what layers make together is
 * metadata/merge.ts. It knows no network, no disk and no cache: bytes come in, events go out.
 *
 * A layer as a stream: count and hash | inflate | count and hash | parse. Memory does not grow with
 * the layer. Events come before the digests are known to be right: whoever makes something of them
 * keeps it to himself until the generator has returned.
 *
 * However it ends, `source` is told to end. To stop early, `return()` it, as `for await` does.
 * @param source the layer's bytes as a registry serves them
 * @returns batches of events, about one for each piece of plain bytes
 * @throws ThinError `corrupt` for everything that can be wrong with the bytes; `invalid` if a digest
 *   in `options` is none; `canceled` when the signal says so; errors of `source` as they are
 */
export async function* readLayer(
  source: AsyncIterable<Buffer>,
  options: ReadLayerOptions,
): AsyncGenerator<TarEvent[], LayerSummary> {
  const stop = new AbortController();
  const onAbort = () => stop.abort(options.signal.reason);
  options.signal.addEventListener('abort', onAbort);
  if (options.signal.aborted) onAbort();
  const bytes = abortable(source, stop.signal);
  try {
    const head = await takeHead(bytes);
    if (options.mediaType !== undefined) checkLayerMediaType(options.mediaType);
    return yield* readEvents(followedBy(head, bytes), codecOf(Buffer.concat(head)), options, stop);
  } finally {
    options.signal.removeEventListener('abort', onAbort);
    stop.abort();
    await bytes.return();
  }
}

async function* readEvents(
  source: AsyncIterable<Buffer>,
  codec: LayerCodec,
  { digest, size, diffId, reuseBuffers, onProgress, ...options }: ReadLayerOptions,
  stop: AbortController,
): AsyncGenerator<TarEvent[], LayerSummary> {
  const blob = new CheckedBlob(source, { digest, size });
  const plainCheck = new DigestCheck('its diff ID', diffId);
  const parser = new TarParser();
  let plainBytes = 0;
  const memory = options.memory ?? (reuseBuffers === true ? piecesInTurn() : undefined);
  const pieces = inflate(codec, blob.bytes(), undefined, memory && (() => memory.take()));
  for await (const plain of readAhead(pieces, piecesAhead)) {
    let going = false;
    try {
      plainBytes += plain.length;
      checkInflation(codec, blob.length, plainBytes);
      const hashed = plainCheck.update(plain);
      hashed.catch(() => undefined); // is thrown where it is awaited
      const events = parser.push(plain);
      onProgress?.({ compressedBytes: blob.length, plainBytes });
      if (events.length > 0) yield events;
      await hashed;
      memory?.parsed(plain);
      going = true;
    } finally {
      // The loop is left here: the stages have to let go of the next piece, which may never come.
      if (!going) stop.abort(new ThinError('canceled', 'Cannot read layer: its reader stopped'));
    }
  }
  const last = parser.end();
  if (last.length > 0) yield last;
  if (parser.skipped !== '') log('skipped entries of type %s in %s', parser.skipped, blob.digest);
  const compressedBytes = blob.length;
  return { digest: blob.digest, diffId: plainCheck.finish(), compressedBytes, plainBytes };
}

/** The first pieces, with as many bytes as it takes to tell the codec, or all if there are fewer. */
async function takeHead(bytes: AsyncGenerator<Buffer, void>): Promise<Buffer[]> {
  const head: Buffer[] = [];
  for (let length = 0; length < codecBytesWanted; ) {
    const result = await bytes.next();
    if (result.done === true) break;
    head.push(result.value);
    length += result.value.length;
  }
  return head;
}

async function* followedBy(
  head: readonly Buffer[],
  rest: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void> {
  yield* head;
  yield* rest;
}

/**
 * Plain bytes that may come before the ratio counts. Zstd packs a run of zeros, a large empty
 * database file say, a thousand times tighter than DEFLATE can, so it is given more.
 */
const uncountedBytes: Readonly<Record<LayerCodec, number>> = {
  plain: 0,
  gzip: 2 ** 20,
  zstd: 2 ** 30,
};
/** Plain bytes of one layer: as many as one file may have. */
const plainBytesMax = limits.fileBytesMax;

/** Ends a decompression bomb. @throws ThinError `corrupt` */
function checkInflation(codec: LayerCodec, compressedBytes: number, plainBytes: number): void {
  const allowed = uncountedBytes[codec] + compressedBytes * limits.inflateRatioMax;
  if (plainBytes > Math.min(allowed, plainBytesMax)) {
    throw malformedLayer(
      `${compressedBytes} bytes inflate to more than ${Math.min(allowed, plainBytesMax)}`,
    );
  }
}
