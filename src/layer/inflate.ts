import { GzipInflater } from '../../native-bindings/gzip.js';
import { ZstdInflater } from '../../native-bindings/zstd.js';
import { isThinError } from '../errors.js';
import { gunzipWithNode } from './gunzip-with-node.js';
import type { LayerCodec } from './layer-codec.js';

/** A decompressor that works off the main thread and gives out a bounded piece at a time. */
interface Inflater {
  /** There is more to be had with `push()` before the next bytes. */
  readonly more: boolean;
  push(bytes?: Buffer, reused?: Buffer): Promise<Buffer[]>;
  /** @throws ThinError `corrupt` if the stream may not end here */
  end(): void;
}

/**
 * Plain bytes of one piece where buffers are used again, and how many there are: one that is being
 * filled while another is consumed.
 */
const reusedBytes = 1024 * 1024;
const reusedBuffers = 2;

/**
 * The plain bytes of `source`. Gzip may have several members, zstd several frames, skippable ones
 * too. A consumer that stops early ends the source.
 * @param openGzip ISA-L's inflater, two to three times as fast as zlib; Node's takes its place where
 *   the addon is missing
 * @param reuse each piece is valid until the one behind the next is asked for: new buffers of this
 *   size make the garbage collector run all the time
 * @throws ThinError `corrupt` if the bytes are damaged or end too early; `unavailable` for zstd
 *   where the addon is missing
 */
export function inflate(
  codec: LayerCodec,
  source: AsyncIterable<Buffer>,
  openGzip: () => Inflater = () => new GzipInflater(),
  reuse = false,
): AsyncIterable<Buffer> {
  switch (codec) {
    case 'plain':
      return source;
    case 'zstd':
      return inflateWith(new ZstdInflater(), source, reuse);
    case 'gzip': {
      const inflater = orMissing(openGzip);
      if (inflater === undefined) return gunzipWithNode(source);
      return inflateWith(inflater, source, reuse);
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
  reuse: boolean,
): AsyncGenerator<Buffer, void> {
  const buffers = Array.from({ length: reuse ? reusedBuffers : 0 }, () =>
    Buffer.allocUnsafeSlow(reusedBytes),
  );
  let pieces = 0;
  for await (const bytes of source) {
    let rest: Buffer | undefined = bytes;
    do {
      for (const piece of await inflater.push(rest, buffers[pieces % reusedBuffers])) {
        pieces += 1;
        yield piece;
      }
      rest = undefined;
    } while (inflater.more);
  }
  inflater.end();
}
