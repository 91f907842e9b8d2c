import { ThinError } from '../src/errors.js';
import { type ImageReference, parseReference, repositoryOf } from '../src/image/reference.js';

/** Where a thin image goes, and what it is called there. */
export interface Destination {
  /** What `openWritableStore` takes. */
  readonly location: string;
  readonly reference: ImageReference;
  /** Registry host and repository: what readers ask the store for. */
  readonly repository: string;
  /** Undefined for an image that is named by digest only. */
  readonly tag: string | undefined;
  /** The store is a repository that may not have the original image. */
  readonly needsOriginal: boolean;
}

export interface Naming {
  /** What the source calls the image. */
  readonly own: string | undefined;
  /** True if the source is a registry. */
  readonly inRegistry: boolean;
  readonly to?: string | undefined;
  readonly name?: string | undefined;
}

/** @throws ThinError `invalid` if nothing says how the image is called */
export function destinationOf({ own, inRegistry, to, name }: Naming): Destination {
  const toFolder = to !== undefined && /^(dir:|[a-z0-9+.-]+:\/\/)/i.test(to);
  const source = own === undefined ? undefined : parseReference(own);
  const chosen = toFolder || to === undefined ? name : to;
  const reference = chosen === undefined ? source : parseReference(chosen);
  if (!reference) {
    throw new ThinError('invalid', 'Cannot name the image: it has no name (wanted --name)');
  }
  const repository = repositoryOf(reference);
  const atHome = inRegistry && source !== undefined && repositoryOf(source) === repository;
  const { tag } = reference;
  if (toFolder) return { location: to, reference, repository, tag, needsOriginal: false };
  return { location: repository, reference, repository, tag, needsOriginal: !atHome };
}
