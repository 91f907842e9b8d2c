import { ThinError } from '../errors.js';

/**
 * What every defect of a layer's bytes becomes: `corrupt`, whether it is damage, a lie or a size
 * beyond our limits. Asking the same store again does not help; another copy of the blob may.
 */
export function malformedLayer(what: string, cause?: unknown): ThinError {
  return new ThinError(
    'corrupt',
    `Cannot read layer: ${what}`,
    cause === undefined ? {} : { cause },
  );
}
