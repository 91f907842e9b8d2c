import { closeSync, openSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { tierPath } from '../../src/cache/layout.js';
import type { PartialView } from '../../src/cache/partial-view.js';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { detachPath } from '../../src/fuse/kernel-mount.js';
import {
  ObjectServer,
  type ObjectServerOptions,
  type ReadObject,
} from '../../src/fuse/object-server.js';
import { cleanUp, type Teardown } from '../support/clean-up.js';
import { temporaryFolder } from './mounted-tree.js';

/** What a test keeps open, as a holder does. Its mount is taken away with the test. */
export interface HeldDevice {
  readonly device: number;
  readonly mountPoint: string;
}

export async function holdDevice(t: Teardown): Promise<HeldDevice> {
  const mountPoint = await temporaryFolder(t);
  const device = openSync('/dev/fuse', 'r+');
  cleanUp(t, async () => {
    // Detaching ends the connection too, and with it whatever waits for it.
    await detachPath(mountPoint);
    closeSync(device);
  });
  return { device, mountPoint };
}

export interface OpenObjects {
  readonly server: ObjectServer;
  readonly firstUses: Digest[];
  readonly readErrors: { error: unknown; content: Digest }[];
}

/** A server of a descriptor, closed with the test unless it has ended. */
export async function openObjects(
  t: Teardown,
  held: HeldDevice,
  readFile: ReadObject,
  options: Partial<ObjectServerOptions> = {},
): Promise<OpenObjects> {
  const firstUses: Digest[] = [];
  const readErrors: OpenObjects['readErrors'] = [];
  const server = await ObjectServer.open({
    ...held,
    tiers: [],
    readFile,
    onFirstUse: (contents) => firstUses.push(...contents),
    onReadError: (error, content) => readErrors.push({ error, content }),
    ...options,
  });
  cleanUp(t, () => server.close());
  return { server, firstUses, readErrors };
}

export const imageNamed = (text: string): Digest => digestOf(Buffer.from(text));

/** Files by content, as an image has them. */
export class StoredFiles {
  readonly #bytes = new Map<Digest, Buffer>();

  constructor(files: readonly Buffer[]) {
    for (const bytes of files) this.#bytes.set(digestOf(bytes), bytes);
  }

  get refs(): { content: Digest; size: number }[] {
    return [...this.#bytes].map(([content, { length }]) => ({ content, size: length }));
  }

  readonly read: ReadObject = async (_, { content }, offset, length) => {
    const bytes = this.#bytes.get(content);
    if (!bytes) throw new ThinError('not-found', `Cannot find ${content}`);
    return bytes.subarray(offset, offset + length);
  };
}

/** Where a file is seen below an image's directory. */
export function objectPath(layer: string, content: Digest): string {
  return tierPath(layer, content);
}

export async function putInTier(tier: string, whole: Buffer, kept = whole): Promise<void> {
  const path = tierPath(tier, digestOf(whole));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, kept);
}

/** A partial file as the cache shows it, all of its bytes on the disk and no chunk verified yet. */
export async function partialView(
  folder: string,
  bytes: Buffer,
  chunkBytes: number,
): Promise<PartialView> {
  const content = digestOf(bytes);
  const path = join(folder, digestHex(content));
  await writeFile(path, bytes);
  const chunks = Math.ceil(bytes.length / chunkBytes);
  const starts = new Float64Array(new SharedArrayBuffer((chunks + 1) * 8));
  for (let chunk = 0; chunk <= chunks; chunk++) {
    starts[chunk] = Math.min(chunk * chunkBytes, bytes.length);
  }
  const verified = new Int32Array(new SharedArrayBuffer(Math.ceil(chunks / 32) * 4));
  const named = new Int32Array(new SharedArrayBuffer(4)).fill(1);
  return { content, size: bytes.length, path, named, starts, verified };
}

export function verify({ verified }: PartialView, chunk: number): void {
  Atomics.or(verified, chunk >>> 5, 1 << (chunk & 31));
}
