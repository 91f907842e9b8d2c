import { GzipInflater } from '../../native-bindings/gzip.js';
import { ZstdInflater } from '../../native-bindings/zstd.js';
import { isThinError } from '../errors.js';
import { gunzipWithNode } from './gunzip-with-node.js';
import type { LayerCodec } from './layer-codec.js';

/** A decompressor that works off the main thread and gives out a bounded piece at a time. */
interface Inflater {
  /** There is more to be had with `push()` before the next bytes. */
  readonly more: boolean;
  push(bytes?: Buffer): Promise<Buffer[]>;
  /** @throws ThinError `corrupt` if the stream may not end here */
  end(): void;
}

/**
 * The plain bytes of `source`. Gzip may have several members, zstd several frames, skippable ones
 * too. A consumer that stops early ends the source.
 * @param openGzip ISA-L's inflater, two to three times as fast as zlib; Node's takes its place where
 *   the addon is missing
 * @throws ThinError `corrupt` if the bytes are damaged or end too early; `unavailable` for zstd
 *   where the addon is missing
 */
export function inflate(
  codec: LayerCodec,
  source: AsyncIterable<Buffer>,
  openGzip: () => Inflater = () => new GzipInflater(),
): AsyncIterable<Buffer> {
  switch (codec) {
    case 'plain':
      return source;
    case 'zstd':
      return inflateWith(new ZstdInflater(), source);
    case 'gzip': {
      const inflater = orMissing(openGzip);
      return inflater === undefined ? gunzipWithNode(source) : inflateWith(inflater, source);
    }
  }
}

function orMissing(open: () => Inflater): Inflater | undefined {
  try {
    return open();
  } catch (error) {
    if (isThinError(error, 'unavailable')) return undefined;
    throw error;
  }
}

async function* inflateWith(
  inflater: Inflater,
  source: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void> {
  for await (const bytes of source) {
    yield* await inflater.push(bytes);
    while (inflater.more) yield* await inflater.push();
  }
  inflater.end();
}
