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
 * The plain bytes of `source`. Gzip may have several members, zstd several frames, skippable ones
 * too. A consumer that stops early ends the source.
 * @param openGzip ISA-L's inflater, two to three times as fast as zlib; Node's takes its place where
 *   the addon is missing
 * @param output called for the memory of each piece. New memory if not given, or a plain source's own:
 *   new buffers of this size make the garbage collector run all the time
 * @throws ThinError `corrupt` if the bytes are damaged or end too early; `unavailable` for zstd
 *   where the addon is missing
 */
export function inflate(
  codec: LayerCodec,
  source: AsyncIterable<Buffer>,
  openGzip: () => Inflater = () => new GzipInflater(),
  output?: () => Buffer,
): AsyncIterable<Buffer> {
  switch (codec) {
    case 'plain':
      return output === undefined ? source : copied(source, output);
    case 'zstd':
      return inflateWith(new ZstdInflater(), source, output);
    case 'gzip': {
      const inflater = orMissing(openGzip);
      if (inflater === undefined) return gunzipWithNode(source);
      return inflateWith(inflater, source, output);
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
  output: (() => Buffer) | undefined,
): AsyncGenerator<Buffer, void> {
  let memory: Buffer | undefined;
  for await (const bytes of source) {
    let rest: Buffer | undefined = bytes;
    do {
      memory ??= output?.();
      for (const piece of await inflater.push(rest, memory)) {
        memory = undefined; // is the consumer's now; one that stays empty is filled by the next push
        yield piece;
      }
      rest = undefined;
    } while (inflater.more);
  }
  inflater.end();
}

async function* copied(
  source: AsyncIterable<Buffer>,
  output: () => Buffer,
): AsyncGenerator<Buffer, void> {
  for await (const bytes of source) {
    for (let at = 0; at < bytes.length; ) {
      const memory = output();
      const length = bytes.copy(memory, 0, at);
      yield memory.subarray(0, length);
      at += length;
    }
  }
}
