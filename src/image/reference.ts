import { ThinError } from '../errors.js';
import { type ContentDigest, isContentDigest } from './content-digest.js';

/** Where an image is: `registry/repository:tag@digest`, normalised as docker does. */
export interface ImageReference {
  /** Host and, if it is not the default, port: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly registry: string;
  /** `library/debian` */
  readonly repository: string;
  /** Absent only if there is a digest. */
  readonly tag?: string;
  /** Decides, if there is a tag too. */
  readonly digest?: ContentDigest;
}

/** Characters of any reference, so that the grammar is tried on nothing long. */
const referenceLengthMax = 1024;
/** Characters of a repository: the limit of docker and of the distribution specification. */
const repositoryLengthMax = 255;
/** The registry that a name without one means. */
const defaultRegistry = 'docker.io';

const hostLabel = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const registryGrammar = new RegExp(
  `^(?:${hostLabel}(?:\\.${hostLabel})*|\\[[a-fA-F0-9:]+\\])(?::([0-9]{1,5}))?$`,
);
const repositoryGrammar =
  /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagGrammar = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/**
 * Reads an image reference by docker's grammar and rules: `debian` is
 * `docker.io/library/debian:latest`; a first component with a dot, a colon or capitals, or
 * `localhost`, is a registry.
 * @throws ThinError `invalid` that says which part is wrong.
 * @see https://github.com/distribution/reference/blob/main/reference.go
 */
export function parseReference(text: string): ImageReference {
  const fail = (problem: string): never => {
    const shown = JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
    throw new ThinError('invalid', `Cannot use image reference ${shown}: ${problem}`);
  };
  if (text.length === 0) fail('it is empty (wanted [registry/]repository[:tag][@digest])');
  if (text.length > referenceLengthMax) {
    fail(`it has ${text.length} characters (wanted at most ${referenceLengthMax})`);
  }
  const scheme = /^[a-z+]+:\/\//i.exec(text)?.[0];
  if (scheme) fail(`it is a URL (wanted it without ${scheme})`);

  const { name, tag, digest } = split(text);
  const { registry, repository } = normalise(name);
  checkRegistry(registry, fail);
  checkRepository(repository, fail);
  if (tag !== undefined && !isTag(tag)) {
    fail(
      `its tag ${JSON.stringify(tag.slice(0, 140))} is malformed (wanted 1 to 128 of A-Z a-z 0-9 _ . -, not beginning with . or -)`,
    );
  }
  if (digest === undefined) return { registry, repository, tag: tag ?? 'latest' };
  if (!isContentDigest(digest)) {
    return fail(
      'its digest is malformed (wanted sha256: and 64, or sha512: and 128 lower-case hexadecimal digits)',
    );
  }
  return { registry, repository, ...(tag !== undefined && { tag }), digest };
}

/** The full form, which {@link parseReference} reads back to the same. */
export function formatReference(reference: ImageReference): string {
  const { registry, repository, tag, digest } = reference;
  return `${registry}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** What a reference names without tag and digest: `localhost:5000/python`. */
export function repositoryOf({ registry, repository }: ImageReference): string {
  return formatReference({ registry, repository });
}

/** What to ask the registry for: the digest if there is one, else the tag. */
export function referenceTarget(reference: ImageReference): string {
  return reference.digest ?? reference.tag ?? 'latest';
}

/**
 * The repository of a registry, as it stands in URLs.
 * @throws ThinError `invalid` if `text` is not of the grammar; there are no `..` or `?` in it.
 */
export function parseRepository(text: string): string {
  checkRepository(text, (problem) => {
    throw new ThinError(
      'invalid',
      `Cannot use repository ${JSON.stringify(text.slice(0, 300))}: ${problem}`,
    );
  });
  return text;
}

export function isTag(text: string): boolean {
  return tagGrammar.test(text);
}

interface Parts {
  readonly name: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

function split(text: string): Parts {
  const at = text.indexOf('@');
  const named = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const colon = named.lastIndexOf(':');
  if (colon <= named.lastIndexOf('/')) return { name: named, tag: undefined, digest };
  return { name: named.slice(0, colon), tag: named.slice(colon + 1), digest };
}

function normalise(name: string): { registry: string; repository: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  const isRegistry =
    slash >= 0 && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase());
  const registry = isRegistry ? first : defaultRegistry;
  const repository = isRegistry ? name.slice(slash + 1) : name;
  if (registry !== defaultRegistry && registry !== 'index.docker.io') {
    return { registry, repository };
  }
  const official = repository !== '' && !repository.includes('/');
  return { registry: defaultRegistry, repository: official ? `library/${repository}` : repository };
}

function checkRegistry(registry: string, fail: (problem: string) => never): void {
  const port = registryGrammar.exec(registry);
  if (!port || Number(port[1] ?? 1) > 65_535 || Number(port[1] ?? 1) === 0) {
    fail(`its registry ${JSON.stringify(registry)} is malformed (wanted host or host:port)`);
  }
}

function checkRepository(repository: string, fail: (problem: string) => never): void {
  if (repository === '') fail('it names no repository (wanted [registry/]repository)');
  if (repository.length > repositoryLengthMax) {
    fail(
      `its repository has ${repository.length} characters (wanted at most ${repositoryLengthMax})`,
    );
  }
  if (repository !== repository.toLowerCase())
    fail('its repository has capitals (wanted lower case)');
  if (!repositoryGrammar.test(repository)) {
    fail(
      `its repository ${JSON.stringify(repository)} is malformed (wanted a-z 0-9, joined by single . / or _ __ or -)`,
    );
  }
  if (/^library\/[a-f0-9]{64}$/.test(repository)) {
    fail(
      '64 hexadecimal digits are an image ID, not a name (wanted a repository, or name@sha256:…)',
    );
  }
}
