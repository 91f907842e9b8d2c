import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import { fromSystemError, isThinError, ThinError } from '../errors.js';

/** Where docker keeps, by `<host>[:<port>]`, authorities (`*.crt`) and our own `*.cert`, `*.key`. */
export const dockerCertificates = '/etc/docker/certs.d';
/** The authorities that the administrator of this machine trusts (Debian's and most others' place). */
const systemBundle = '/etc/ssl/certs/ca-certificates.crt';

/** What TLS trusts and shows. */
export interface TlsContexts {
  /** For the registry itself: with our client certificate, if there is one. */
  readonly own: SecureContext;
  /** For hosts that it sends us to: the same authorities, but nothing of ours is shown. */
  readonly foreign: SecureContext;
}

/**
 * @param registry as in an image reference
 * @param options.ca path of a PEM file with further authorities
 * @param options.folder in place of {@link dockerCertificates}
 * @throws ThinError `invalid` if a certificate cannot be read or understood.
 */
export async function loadTlsContexts(
  registry: string,
  options: { readonly ca?: string | undefined; readonly folder: string },
): Promise<TlsContexts> {
  const folder = join(options.folder, registry);
  const names = (await orAbsent(readdir(folder))) ?? [];
  const read = (name: string): Promise<string> => readPem(join(folder, name));
  const ca = [
    ...rootCertificates,
    ...[(await orAbsent(readFile(systemBundle, 'utf8'))) ?? []].flat(),
    ...(await Promise.all(names.filter((name) => name.endsWith('.crt')).map(read))),
    ...(options.ca === undefined ? [] : [await readPem(options.ca)]),
  ];
  const pair = names.filter((name) => name.endsWith('.cert')).sort()[0];
  const client = pair && {
    cert: await read(pair),
    key: await read(pair.replace(/\.cert$/, '.key')),
  };
  try {
    const foreign = createSecureContext({ ca });
    return { own: client ? createSecureContext({ ca, ...client }) : foreign, foreign };
  } catch (cause) {
    const places = [folder, options.ca].filter((place) => place !== undefined).join(' and ');
    throw new ThinError('invalid', `Cannot use certificates of ${places}: wanted PEM`, { cause });
  }
}

async function readPem(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    const { message } = fromSystemError(`Cannot read certificate ${path}`, error);
    throw new ThinError('invalid', message, { cause: error });
  });
  if (!text.includes('-----BEGIN '))
    throw new ThinError('invalid', `Cannot use ${path}: wanted PEM`);
  return text; // Node would pass over a file with no certificate in it
}

async function orAbsent<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    const failure = fromSystemError('Cannot read certificates', error);
    if (isThinError(failure, 'not-found', 'denied')) return undefined;
    throw failure;
  }
}
