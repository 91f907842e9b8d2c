import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ThinError } from '../errors.js';
import { parseReference } from '../image/reference.js';
import { makeFolder } from '../make-folder.js';
import type { RegistryClient, RegistryOptions } from '../registry/registry-client.js';
import { systemClock } from './clock.js';
import { DirectoryObjects } from './directory-objects.js';
import type { HttpOptions } from './http-objects.js';
import { layoutStore, writableLayoutStore } from './layout-store.js';
import type { RegistryStore } from './registry-store.js';
import { RetryingStore } from './retrying-store.js';
import type { S3Options } from './s3-objects.js';
import { shownLocation } from './shown-location.js';
import type { Store, WritableStore } from './store.js';
import { storeError } from './store-error.js';

// What speaks to the network is imported where it is opened: loading it takes a tenth of a second.

/** What the locations do not say; each kind of store looks at its own. */
export interface StoreOptions {
  readonly http?: HttpOptions | undefined;
  readonly s3?: S3Options | undefined;
  readonly registry?: Omit<RegistryOptions, 'registry' | 'repository'> | undefined;
  /** Gives clients that share connections, which whoever gives them ends. Default: one of its own. */
  readonly registryClient?: ((options: RegistryOptions) => Promise<RegistryClient>) | undefined;
}

/** A store and its connections, which end when it is disposed of. */
export interface OpenedStore<S extends Store> extends AsyncDisposable {
  readonly store: S;
}

type Kind = 'directory' | 'http' | 's3' | 'registry';

/**
 * Opens a store to read from.
 * @param location `dir:<path>`, `http(s)://…` (any static web server), `s3://bucket[/prefix]`, or
 *   `registry/repository`
 * @throws ThinError `invalid` for a malformed location, `not-found` for a directory that is not there
 */
export async function openStore(
  location: string,
  options: StoreOptions,
  signal: AbortSignal,
): Promise<OpenedStore<Store>> {
  switch (kindOf(location)) {
    case 'directory':
      return opened(layoutStore(new DirectoryObjects(await existingFolder(location, signal))));
    case 'http': {
      const { HttpObjects } = await import('./http-objects.js');
      const objects = new HttpObjects(location, options.http ?? {});
      return opened(new RetryingStore(layoutStore(objects), systemClock), objects);
    }
    case 's3': {
      const { S3Objects } = await import('./s3-objects.js');
      const objects = await S3Objects.open(location, options.s3 ?? {});
      return opened(new RetryingStore(layoutStore(objects), systemClock), objects);
    }
    case 'registry':
      return await openRegistry(location, options);
  }
}

/**
 * Opens a store to publish to; a directory is made if it is not there.
 * @throws ThinError `invalid` for a malformed location, or a web server, which cannot be written to
 */
export async function openWritableStore(
  location: string,
  options: StoreOptions,
  signal: AbortSignal,
): Promise<OpenedStore<WritableStore>> {
  switch (kindOf(location)) {
    case 'directory': {
      const objects = new DirectoryObjects(await madeFolder(location, signal));
      await objects.removeLeftovers(signal);
      return opened(writableLayoutStore(objects));
    }
    case 's3': {
      const { S3Objects } = await import('./s3-objects.js');
      const objects = await S3Objects.open(location, options.s3 ?? {});
      return opened(writableLayoutStore(objects), objects);
    }
    case 'registry':
      return await openRegistry(location, options);
    case 'http':
      throw new ThinError(
        'invalid',
        `Cannot publish to ${shownLocation(location)}: a web server is only read ` +
          '(publish to dir:<path> and let it serve that folder)',
      );
  }
}

function kindOf(location: string): Kind {
  if (location.startsWith('dir:')) return 'directory';
  if (/^https?:\/\//.test(location) && URL.canParse(location)) return 'http';
  if (location.startsWith('s3://')) return 's3';
  if (/^[A-Za-z0-9+.-]+:\/\//.test(location)) {
    throw new ThinError(
      'invalid',
      `Cannot use store ${shownLocation(location)}: wanted dir:<path>, http(s)://…, s3://bucket/prefix ` +
        'or registry/repository',
    );
  }
  return 'registry';
}

function opened<S extends Store>(store: S, connections?: AsyncDisposable): OpenedStore<S> {
  return {
    store,
    [Symbol.asyncDispose]: async () => await connections?.[Symbol.asyncDispose](),
  };
}

async function openRegistry(
  location: string,
  options: StoreOptions,
): Promise<OpenedStore<RegistryStore>> {
  const { registry, repository } = parseReference(location);
  const clientOptions = { ...options.registry, registry, repository };
  const { RegistryStore } = await import('./registry-store.js');
  if (options.registryClient) {
    return opened(new RegistryStore(await options.registryClient(clientOptions)));
  }
  const { RegistryClient } = await import('../registry/registry-client.js');
  const client = await RegistryClient.open(clientOptions);
  return opened(new RegistryStore(client), client);
}

/** Loads what most images come through, so that the first one does not wait for it: 45 ms of CPU, 3.5 MB. */
export async function loadRegistries(): Promise<void> {
  await import('./registry-store.js');
  await import('../registry/registry-client.js');
}

async function existingFolder(location: string, signal: AbortSignal): Promise<string> {
  const path = resolve(location.slice('dir:'.length));
  try {
    signal.throwIfAborted();
    if ((await stat(path)).isDirectory()) return path;
  } catch (error) {
    throw storeError(`Cannot open store ${location}`, error, signal);
  }
  throw new ThinError('invalid', `Cannot open store ${location}: it is not a folder`);
}

async function madeFolder(location: string, signal: AbortSignal): Promise<string> {
  const path = resolve(location.slice('dir:'.length));
  try {
    signal.throwIfAborted();
    await makeFolder(path);
  } catch (error) {
    throw storeError(`Cannot make store ${location}`, error, signal);
  }
  return await existingFolder(location, signal);
}
