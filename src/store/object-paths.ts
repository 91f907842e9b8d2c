import { type Digest, digestHex } from '../digest.js';
import { ThinError } from '../errors.js';

/**
 * Where things lie in a directory, on a web server and in a bucket (DESIGN.md section 3):
 *
 *     blobs/sha256/<hex>                packs, metadata, chunk maps, descriptors, thin manifests
 *     refs/<repository>/<tag>.json      OCI index of the thin manifests published for a tag
 *     refs/<repository>/sha256-<hex>.json   the same for an original manifest, by its digest
 */
export function blobPath(digest: Digest): string {
  return `blobs/sha256/${digestHex(digest)}`;
}

/** Bytes of a whole repository name; each part is a name of a file system besides. */
const repositoryLengthMax = 1024;
const partLengthMax = 250;
/** Begins with no dot, so that no part is `.` or `..`. */
const partGrammar = /^[A-Za-z0-9_][A-Za-z0-9._:-]*$/;
/** A registry by its IPv6 address, which can only be the first part. */
const addressGrammar = /^\[[0-9A-Fa-f:]{2,39}\](:[0-9]{1,5})?$/;
const tagGrammar = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** @throws ThinError `invalid` for a name that could leave `refs/` or hide another name. */
export function tagPath(repository: string, tag: string): string {
  if (!tagGrammar.test(tag)) throw invalid('tag', tag);
  return `${repositoryPath(repository)}/${tag}.json`;
}

/** @throws ThinError `invalid`, as {@link tagPath} does. */
export function subjectPath(repository: string, subject: Digest): string {
  return `${repositoryPath(repository)}/sha256-${digestHex(subject)}.json`;
}

function repositoryPath(repository: string): string {
  const parts = repository.split('/');
  const fits = parts.every(
    (part, index) =>
      (partGrammar.test(part) || (index === 0 && addressGrammar.test(part))) &&
      part.length <= partLengthMax &&
      // A folder of this name would be in the way of the tag of this name.
      !part.endsWith('.json'),
  );
  if (!fits || repository.length > repositoryLengthMax) throw invalid('repository', repository);
  return `refs/${repository}`;
}

function invalid(what: string, name: string): ThinError {
  const shown = JSON.stringify(name.slice(0, 90));
  return new ThinError(
    'invalid',
    `Cannot use ${what} ${shown}: a store has no place for that name`,
  );
}
