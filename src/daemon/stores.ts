import { readFile } from 'node:fs/promises';
import { fromSystemError } from '../errors.js';
import { type ImageReference, parseReference } from '../image/reference.js';
import type { RegistryClient, RegistryOptions } from '../registry/registry-client.js';
import type { CredentialChoice } from '../registry/registry-session.js';
import { systemClock } from '../store/clock.js';
import { type OpenedStore, openStore } from '../store/open-store.js';
import { shownLocation } from '../store/shown-location.js';
import { type OnTurn, SourceHealth, type SourceReport } from '../store/source-health.js';
import { SourceStore } from '../store/source-store.js';
import type { Store } from '../store/store.js';
import type { ImageSource } from './image-folder.js';

/**
 * The stores that images of this node come from, each opened once; those of one host share what is
 * known of it, and those of one registry its connections. Credentials that a command gave are kept
 * for as long as the daemon runs, in memory only.
 */
export class Stores implements AsyncDisposable {
  readonly #stores = new Map<string, SourceStore>();
  readonly #hosts = new Map<string, SourceHealth>();
  readonly #registries = new Map<string, Promise<RegistryClient>>();
  readonly #credentials = new Map<string, CredentialChoice>();
  readonly #onTurn: OnTurn;

  /** @param onTurn told of outages */
  constructor(onTurn: OnTurn) {
    this.#onTurn = onTurn;
  }

  /** Uses these from now on; a store that was opened without them is opened anew. */
  logIn(source: ImageSource, credentials: CredentialChoice): void {
    const key = keyOf(source);
    this.#credentials.set(key, credentials);
    const stale = this.#stores.get(key);
    void stale?.reopen(() => this.#connect(source)).catch(() => {});
  }

  credentials(source: ImageSource): CredentialChoice {
    return this.#credentials.get(keyOf(source)) ?? 'docker';
  }

  /** Talks to nobody yet. */
  open(source: ImageSource): Store {
    const key = keyOf(source);
    const known = this.#stores.get(key);
    if (known) return known;
    const health = this.#healthOf(hostOf(source));
    const store = new SourceStore(shownLocation(source.location), health, () =>
      this.#connect(source),
    );
    this.#stores.set(key, store);
    return store;
  }

  /** A repository, over the connections that its store uses; whoever uses it does not end it. */
  repository(
    source: ImageSource,
    { registry, repository }: ImageReference,
  ): Promise<RegistryClient> {
    return this.#registryClient({ registry, repository, ...this.#registryOptions(source) });
  }

  #registryOptions(source: ImageSource) {
    return {
      credentials: this.credentials(source),
      plainHttp: source.plainHttp,
      ca: source.caFile,
    };
  }

  /** How the source's host has answered, whatever image was asked for. */
  report(source: ImageSource): SourceReport {
    const health = this.#healthOf(hostOf(source));
    return { ...health.report(), source: shownLocation(source.location) };
  }

  /** How each host has answered. */
  hosts(): SourceReport[] {
    return [...this.#hosts.values()].map((health) => health.report());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const stores = [...this.#stores.values()];
    const registries = await Promise.allSettled(this.#registries.values());
    this.#stores.clear();
    this.#registries.clear();
    for (const store of stores) await store[Symbol.asyncDispose]();
    for (const registry of registries) {
      if (registry.status === 'fulfilled') await registry.value[Symbol.asyncDispose]();
    }
  }

  #healthOf(host: string): SourceHealth {
    const health = this.#hosts.get(host) ?? new SourceHealth(host, systemClock, this.#onTurn);
    this.#hosts.set(host, health);
    return health;
  }

  async #connect(source: ImageSource): Promise<OpenedStore<Store>> {
    const { location, caFile, s3Endpoint, s3Region } = source;
    const options = {
      registry: this.#registryOptions(source),
      registryClient: (client: RegistryOptions) => this.#registryClient(client),
      http: { ca: caFile === undefined ? undefined : await readAuthorities(caFile) },
      s3: { endpoint: s3Endpoint, region: s3Region },
    };
    return openStore(location, options, new AbortController().signal);
  }

  /** One for all repositories that are reached in the same way. */
  async #registryClient(options: RegistryOptions): Promise<RegistryClient> {
    const { repository, registry, credentials, plainHttp, ca } = options;
    const key = JSON.stringify([registry, credentials, plainHttp, ca]);
    let opening = this.#registries.get(key);
    if (!opening) {
      const { RegistryClient } = await import('../registry/registry-client.js');
      opening = this.#registries.get(key) ?? RegistryClient.open(options);
      this.#registries.set(key, opening);
      opening.catch(() => this.#registries.delete(key));
    }
    return (await opening).forRepository(repository);
  }
}

async function readAuthorities(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw fromSystemError(`Cannot read certificates ${path}`, error);
  }
}

/** Whose outages its stores have in common. */
function hostOf({ location, s3Endpoint }: ImageSource): string {
  if (location.startsWith('dir:')) return location;
  if (location.startsWith('s3://')) return s3Endpoint ? new URL(s3Endpoint).host : 's3';
  if (isUrl(location)) return new URL(location).host;
  return parseReference(location).registry;
}

function isUrl(location: string): boolean {
  return /^(https?|s3):\/\//.test(location) && URL.canParse(location);
}

function keyOf(source: ImageSource): string {
  const { location, plainHttp, caFile, s3Endpoint, s3Region } = source;
  return JSON.stringify([location, plainHttp, caFile, s3Endpoint, s3Region]);
}
