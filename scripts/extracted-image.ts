import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type CommandResult, runCommand } from '../test/support/run-command.js';
import type { LayoutImage } from './images/image-manifest.js';
import { blobPath } from './images/oci-layout.js';

/** What thinfs is compared with: an image pulled in full, and a container on its extracted files. */

const decompressors: Readonly<Record<string, string>> = {
  'application/vnd.oci.image.layer.v1.tar+gzip': 'gzip -dc',
  'application/vnd.oci.image.layer.v1.tar+zstd': 'zstd -dcq',
  'application/vnd.oci.image.layer.v1.tar': 'cat',
};

/** A shell pipeline that writes the tar of a layer to its output. */
export function openLayerCommand(image: LayoutImage, layer: LayoutImage['layers'][number]): string {
  const { mediaType, digest } = layer.descriptor;
  const program = decompressors[mediaType];
  if (!program) throw new Error(`Cannot read a layer of type ${mediaType}`);
  return `${program} '${blobPath(image.layout, digest)}'`;
}

/**
 * Extracts all layers with the fastest tools at hand, one after the other as a pull does. Whiteouts
 * stay in the tree: this is for measuring, test/support/extract-image.ts is the exact one.
 */
export async function extractQuickly(image: LayoutImage, root: string): Promise<void> {
  await mkdir(root, { recursive: true });
  for (const layer of image.layers) {
    const tar = `tar --extract --numeric-owner --xattrs --directory='${root}'`;
    await runCommand('bash', ['-c', `set -o pipefail; ${openLayerCommand(image, layer)} | ${tar}`]);
  }
}

const specSchema = z.looseObject({
  process: z.looseObject({
    args: z.array(z.string()),
    env: z.array(z.string()),
    cwd: z.string(),
    terminal: z.boolean(),
    user: z.looseObject({ uid: z.number(), gid: z.number() }),
    capabilities: z.record(z.string(), z.array(z.string())),
  }),
  root: z.looseObject({ path: z.string(), readonly: z.boolean() }),
});

/** What root of a container may do to its files, as docker has it. */
const roots = ['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER', 'CAP_SETGID', 'CAP_SETUID'];
const rootsKinds = ['bounding', 'effective', 'permitted'];

export interface BundleOptions {
  readonly env?: readonly string[];
  readonly cwd?: string;
  /** Default: root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Whether the root is; default: true. */
  readonly readonly?: boolean;
}

/** Makes a bundle that `runc run` can run as often as wanted, with `root` as its file system. */
export async function makeBundle(
  bundle: string,
  root: string,
  args: readonly string[],
  { env = [], cwd = '/', user, readonly = true }: BundleOptions = {},
): Promise<void> {
  await mkdir(bundle, { recursive: true });
  const spec = join(bundle, 'config.json');
  await runCommand('runc', ['spec', '--bundle', bundle]);
  const { stdout } = await runCommand('cat', [spec]);
  const config = specSchema.parse(JSON.parse(stdout));
  config.process.args = [...args];
  config.process.env.push(...env);
  config.process.cwd = cwd;
  config.process.terminal = false;
  if (user) config.process.user = { ...user };
  if (!readonly) for (const kind of rootsKinds) config.process.capabilities[kind]?.push(...roots);
  config.root = { path: root, readonly };
  await writeFile(spec, JSON.stringify(config));
}

export async function runBundle(bundle: string, id: string): Promise<CommandResult> {
  return runCommand('runc', ['run', '--bundle', bundle, id]);
}
