import { ThinError } from '../errors.js';
import { parseReference, repositoryOf } from '../image/reference.js';
import type { ThinImageTarget } from './image-store.js';

/** An image that another one is told from, as the user has named it. */
export interface BaseImage {
  /** Registry host and repository. */
  readonly repository: string;
  readonly tag: string;
}

/** @throws ThinError `invalid` for a base without a tag */
export function parseBase(text: string): BaseImage {
  const reference = parseReference(text);
  const { tag } = reference;
  if (tag !== undefined) return { repository: repositoryOf(reference), tag };
  throw new ThinError('invalid', `Cannot use base ${text}: it has no tag (wanted name:tag)`);
}

/**
 * @param store where both are; one in a registry is of one repository
 * @throws ThinError `invalid` if the base cannot be in it
 */
export function checkBase(store: ThinImageTarget, base: BaseImage, repository: string): void {
  if (store.mountBlob === undefined || base.repository === repository) return;
  throw new ThinError(
    'invalid',
    `Cannot use base ${base.repository}:${base.tag}: it is in another repository (wanted ${repository})`,
  );
}
