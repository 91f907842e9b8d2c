import { type ByteString, displayByteString } from '../byte-string.js';
import { ThinError } from '../errors.js';

/** Layers that cannot be put together are `corrupt`, as a layer that cannot be read is. */
export function unmergeable(path: ByteString, what: string): ThinError {
  const short = path.length > 200 ? (`${path.slice(0, 197)}...` as ByteString) : path;
  return new ThinError(
    'corrupt',
    `Cannot merge layer: entry "${displayByteString(short)}" ${what}`,
  );
}
