import { ThinError } from '../errors.js';
import { exactly } from './byte-stream.js';

/** Bytes skipped of an answer that is not the range asked for but all: a request, not a download. */
const skippedBytesMax = 256 * 1024 * 1024;
/** A connection that brings fewer bytes than this, over this many milliseconds, is given up. */
const slowBytesMin = 20_000;
const slowWindowMs = 20_000;

/**
 * Bytes `offset` to `offset + length` of a stream, which is left where the wanted bytes end.
 * @throws ThinError `unavailable` if it ends before, or if too much would have to be skipped
 */
export async function* sliced(
  source: AsyncIterable<Buffer>,
  offset: number,
  length: number,
  what: string,
): AsyncGenerator<Buffer> {
  yield* exactly(wanted(source, offset, length, what), length, what);
}

async function* wanted(
  source: AsyncIterable<Buffer>,
  offset: number,
  length: number,
  what: string,
): AsyncGenerator<Buffer> {
  let at = 0;
  for await (const bytes of source) {
    if (offset > skippedBytesMax) {
      throw new ThinError(
        'unavailable',
        `${what}: the server does not answer ranges, and ${offset} bytes are too many to skip`,
      );
    }
    const part = bytes.subarray(Math.max(0, offset - at), Math.max(0, offset + length - at));
    at += bytes.length;
    if (part.length > 0) yield part;
    if (at >= offset + length) return;
  }
}

/**
 * Passes bytes through as long as enough of them come; that none come at all is the HTTP client's
 * to notice.
 * @throws ThinError `unavailable`
 */
export async function* progressing(
  source: AsyncIterable<Buffer>,
  what: string,
  now: () => number = performance.now.bind(performance),
): AsyncGenerator<Buffer> {
  let waited = 0;
  let came = 0;
  let asked = now();
  for await (const bytes of source) {
    waited += now() - asked;
    came += bytes.length;
    if (waited >= slowWindowMs) {
      if (came < slowBytesMin) {
        throw new ThinError('unavailable', `${what}: ${came} bytes in ${Math.round(waited)} ms`);
      }
      waited = 0;
      came = 0;
    }
    yield bytes;
    // The time that the consumer took is not the server's.
    asked = now();
  }
}
