import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import { askCredentialHelper } from './credential-helper.js';

/** What convinces a registry, or the token server that it names. */
export type Credentials =
  | { readonly username: string; readonly password: string }
  /** An OAuth2 refresh token, from `docker login` or a helper. */
  | { readonly identityToken: string }
  /** A token for the registry itself. */
  | { readonly registryToken: string };

/** Finds credentials anew each time: they may have been renewed since. Undefined: none, anonymous. */
export type CredentialSource = (signal: AbortSignal) => Promise<Credentials | undefined>;

/** Where docker keeps `config.json`. */
export function dockerConfigFolder(environment: NodeJS.ProcessEnv = process.env): string {
  return environment.DOCKER_CONFIG || join(homedir(), '.docker');
}

const entrySchema = z.object({
  /** Base64 of `user:password`. */
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
  registrytoken: z.string().optional(),
});

const configSchema = z.object({
  auths: z.record(z.string(), entrySchema.nullable()).nullish(),
  /** Helper by registry, and helper for all others. */
  credHelpers: z.record(z.string(), z.string()).nullish(),
  credsStore: z.string().nullish(),
});

type DockerConfig = z.infer<typeof configSchema>;

/**
 * Looks a registry up as docker does: its helper, the helper for all, the file itself.
 * @param folder that holds `config.json`; if it is absent, there are no credentials
 * @throws ThinError `invalid` if the file is malformed, `denied` if a helper fails.
 * @see https://docs.docker.com/reference/cli/docker/login/#credential-stores
 */
export async function dockerCredentials(
  folder: string,
  registry: string,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const config = await readConfig(join(folder, 'config.json'));
  if (!config) return undefined;
  const helpers = config.credHelpers ?? {};
  const own = Object.hasOwn(helpers, registry) ? helpers[registry] : undefined;
  const helper = own ?? config.credsStore;
  const helped = helper
    ? await askCredentialHelper(helper, serverKeys(registry)[0], signal)
    : undefined;
  return helped ?? inFile(config.auths ?? {}, registry);
}

/** Under which names docker keeps a registry, the one that it writes itself first. */
function serverKeys(registry: string): [string, ...string[]] {
  if (registry !== 'docker.io') return [registry, `https://${registry}`, `http://${registry}`];
  return ['https://index.docker.io/v1/', 'docker.io', 'index.docker.io', 'registry-1.docker.io'];
}

async function readConfig(path: string): Promise<DockerConfig | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const failure = fromSystemError(`Cannot read ${path}`, error);
    if (isThinError(failure, 'not-found')) return undefined;
    throw failure;
  }
  const malformed = new ThinError(
    'invalid',
    `Cannot read ${path}: it is not docker's configuration (wanted JSON with "auths")`,
  );
  try {
    return configSchema.parse(JSON.parse(text));
  } catch {
    throw malformed; // no cause: its text would quote the file
  }
}

function inFile(
  auths: NonNullable<DockerConfig['auths']>,
  registry: string,
): Credentials | undefined {
  const wanted = serverKeys(registry);
  for (const key of [...wanted, ...Object.keys(auths).filter((key) => isFor(key, wanted))]) {
    const entry = Object.hasOwn(auths, key) ? auths[key] : undefined;
    const credentials = entry && credentialsOf(entry, registry);
    if (credentials) return credentials;
  }
  return undefined;
}

/** True if `key`, perhaps with a scheme and a path as in `https://host/v2/`, is one of `wanted`. */
function isFor(key: string, wanted: readonly string[]): boolean {
  const host = key.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  return /\/v[12]\/?$/.test(key) && wanted.includes(host);
}

function credentialsOf(
  entry: z.infer<typeof entrySchema>,
  registry: string,
): Credentials | undefined {
  if (entry.identitytoken) return { identityToken: entry.identitytoken };
  if (entry.registrytoken) return { registryToken: entry.registrytoken };
  if (entry.username && entry.password) {
    return { username: entry.username, password: entry.password };
  }
  if (!entry.auth) return undefined;
  const decoded = Buffer.from(entry.auth, 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  if (colon < 1) {
    throw new ThinError(
      'invalid',
      `Cannot use docker's credentials for ${registry}: "auth" is malformed (wanted base64 of user:password)`,
    );
  }
  return {
    username: decoded.slice(0, colon),
    password: decoded.slice(colon + 1).replace(/\0+$/, ''), // docker pads
  };
}
