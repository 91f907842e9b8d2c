import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Digest } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import type { ReadFile } from '../../src/fuse/read-forwarder.js';
import type { TreeServer, TreeServerOptions } from '../../src/fuse/tree-server.js';
import type { DirectoryNode } from '../../src/image/tree.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { cleanUp, type Teardown } from '../support/clean-up.js';
import type { Contents } from './torture-tree.js';

export type OpenServer = (options: TreeServerOptions) => Promise<TreeServer>;

export interface MountedTree {
  readonly server: TreeServer;
  readonly mountPoint: string;
  readonly firstUses: Digest[];
  readonly readErrors: { error: unknown; content: Digest }[];
}

export async function temporaryFolder(t: Teardown, part = 'fuse'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `${part}-test-`));
  cleanUp(t, () => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Mounts `tree` below a temporary folder; everything is taken away again with the test. */
export async function mountTree(
  t: Teardown,
  open: OpenServer,
  tree: DirectoryNode,
  readFile: ReadFile,
  options: Partial<TreeServerOptions> = {},
): Promise<MountedTree> {
  const mountPoint = await temporaryFolder(t);
  const firstUses: Digest[] = [];
  const readErrors: MountedTree['readErrors'] = [];
  const server = await open({
    mountPoint,
    metadata: writeErofs(tree),
    form: 'image',
    tiers: [],
    readFile,
    onFirstUse: (contents) => firstUses.push(...contents),
    onReadError: (error, content) => readErrors.push({ error, content }),
    allowOther: false,
    ...options,
  });
  cleanUp(t, async () => server[Symbol.asyncDispose]());
  return { server, mountPoint, firstUses, readErrors };
}

/** Reads from memory, as a store that has everything. */
export function readFrom(contents: Contents): ReadFile {
  return async (content, size, offset, length) => {
    const bytes = contents.get(content);
    if (bytes?.length !== size) throw new ThinError('not-found', `Cannot find ${content}`);
    return bytes.subarray(offset, offset + length);
  };
}

/** A {@link ReadFile} whose calls wait until the test lets them go. */
export class HeldReads {
  readonly calls: { content: Digest; signal: AbortSignal }[] = [];
  readonly #release: () => void;
  readonly #released: Promise<void>;

  constructor() {
    let release = () => {};
    this.#released = new Promise((resolve) => {
      release = resolve;
    });
    this.#release = release;
  }

  readFile(inner: ReadFile): ReadFile {
    return async (content, size, offset, length, signal) => {
      this.calls.push({ content, signal });
      await this.#released;
      return inner(content, size, offset, length, signal);
    };
  }

  release(): void {
    this.#release();
  }
}

/** Polls until `condition` holds. */
export async function until(what: string, condition: () => boolean | Promise<boolean>) {
  const deadline = Date.now() + 60_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`It took too long until ${what}`);
    await delay(10);
  }
}
