import { ThinError } from '../errors.js';
import { canceled } from './canceled.js';
import type { PartialBlob } from './partial-blob.js';

/**
 * Bytes of one request where a layer comes over several connections: held until their turn. They end at
 * multiples of it, however a pull began: stretches that a site shares are cut there, too.
 */
const segmentBytes = 2 * 1024 * 1024;
/** Bytes left of a layer from which on more connections are worth their beginning. */
const splitBytesMin = 16 * 1024 * 1024;

/** Bytes of used-up network buffers, of all layers together, after which they are collected. */
const garbageMax = 3 * 1024 * 1024;
let garbage = 0;

/** A layer as an image's manifest and config describe it. */
export interface PullLayer {
  readonly descriptor: {
    readonly mediaType: string;
    readonly digest: string;
    /** Compressed bytes. */
    readonly size: number;
  };
  readonly diffId: string;
  /** The layer's bytes from `offset` on, not verified; whatever resumes a download is behind it. */
  open(signal: AbortSignal, range: ByteRange): AsyncIterable<Buffer>;
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface SourceOptions {
  readonly layer: PullLayer;
  /** The beginning of it that is here already, and where what comes is kept. */
  readonly partial: PartialBlob;
  /** Connections that it may use now. */
  readonly connections: () => number;
  readonly onDownloaded: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** A layer's compressed bytes, in order: what an earlier pull has left of them, then the rest. */
export async function* layerBytes(options: SourceOptions): AsyncGenerator<Buffer, void> {
  const { partial, onDownloaded, signal } = options;
  const kept = partial.length;
  yield* partial.read();
  for await (const bytes of downloaded(options, kept)) {
    if (signal.aborted) throw canceled(signal);
    partial.offer(bytes);
    onDownloaded(bytes.length);
    yield bytes;
  }
}

/** Downloads the rest of a layer into its file. */
export async function downloadWhole(options: SourceOptions): Promise<void> {
  const { partial, onDownloaded, signal } = options;
  for await (const bytes of downloaded(options, partial.length)) {
    if (signal.aborted) throw canceled(signal);
    onDownloaded(bytes.length);
    await partial.append(bytes);
  }
  await partial.settled();
}

async function* downloaded(options: SourceOptions, from: number): AsyncGenerator<Buffer, void> {
  const { layer, connections, signal } = options;
  const { size } = layer.descriptor;
  const isWorthSplitting = (at: number) => connections() > 1 && size - at >= splitBytesMin;
  let at = from;
  if (at >= size) return;
  if (!isWorthSplitting(at)) {
    for await (const bytes of layer.open(signal, { offset: at, length: size - at })) {
      at += bytes.length;
      yield bytes;
      countGarbage(bytes.length);
      if (isWorthSplitting(at)) break;
    }
  }
  // A source that has ended too early is looked at by whoever counts and hashes the bytes.
  if (isWorthSplitting(at)) yield* segments(options, at);
}

/** The rest of a layer over several connections, each of which asks for one segment after the other. */
async function* segments(options: SourceOptions, from: number): AsyncGenerator<Buffer, void> {
  const { layer, connections, signal } = options;
  const { size } = layer.descriptor;
  const stop = new AbortController();
  const onAbort = () => stop.abort(canceled(signal));
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  const coming: Promise<Buffer[]>[] = [];
  try {
    for (let next = from; next < size || coming.length > 0; ) {
      while (next < size && coming.length < Math.max(1, connections())) {
        const length = Math.min(segmentBytes - (next % segmentBytes), size - next);
        const segment = collect(layer.open(stop.signal, { offset: next, length }));
        segment.catch(() => undefined); // is thrown in its turn
        coming.push(segment);
        next += length;
      }
      for (const bytes of (await coming.shift()) ?? []) {
        yield bytes;
        countGarbage(bytes.length);
      }
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    stop.abort(new ThinError('canceled', 'Cannot read layer: its reader stopped'));
    await Promise.allSettled(coming);
  }
}

/**
 * V8 counts objects, not what their buffers take, and lets 30 MiB of them gather. Only if Node was
 * started with --expose-gc, as the daemon's server is; it takes about a millisecond.
 */
function countGarbage(bytes: number): void {
  garbage += bytes;
  if (garbage < garbageMax) return;
  garbage = 0;
  globalThis.gc?.(true);
}

async function collect(source: AsyncIterable<Buffer>): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  for await (const bytes of source) pieces.push(bytes);
  return pieces;
}
