import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { malformedLayer } from './malformed-layer.js';

/** Plain bytes of one piece. */
const pieceBytes = 256 * 1024;

/**
 * Inflates gzip members on Node's thread pool: what is used where the addon is missing. Like the
 * addon it accepts zero bytes behind the last member and refuses other garbage there.
 * @throws ThinError `corrupt` if it is no gzip, damaged, or ends too early; errors of the source as
 *   they are
 */
export async function* gunzipWithNode(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  const gunzip = createGunzip({ chunkSize: pieceBytes });
  const feeding = pipeline(source, gunzip);
  // Its error arrives through the loop below, which destroys the stream.
  feeding.catch(() => {});
  try {
    for await (const bytes of gunzip) yield bytes;
    await feeding;
  } catch (error) {
    throw isZlibError(error) ? malformedLayer(`gzip: ${error.message}`, error) : error;
  } finally {
    gunzip.destroy();
  }
}

function isZlibError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && /^Z_/.test(String(error.code));
}
