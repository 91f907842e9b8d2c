import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { nodeConfig } from '../../src/config.js';
import { type CommandResult, runCommand } from '../../test/support/run-command.js';

/** A program as it is installed: built, so that no loader is measured with it. */
export function builtProgram(path: string): string {
  const built = fileURLToPath(new URL(`../../dist/${path}`, import.meta.url));
  if (existsSync(built)) return built;
  throw new Error(`Cannot measure ${path}: it is not built (wanted: npm run build)`);
}

const statusSchema = z.object({
  images: z.array(
    z.object({
      references: z.array(z.string()),
      /** Of a thin image, beside its chunk map. */
      descriptorPath: z.string().optional(),
      fetched: z.object({ requests: z.number(), bytes: z.number() }),
    }),
  ),
});

export type KnownImage = z.infer<typeof statusSchema>['images'][number];

/** The state of one node, with its daemon running until it is disposed of. */
export class ThinNode implements AsyncDisposable {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  /** @param root made if missing; whoever made it removes it */
  static async open(root: string): Promise<ThinNode> {
    const node = new ThinNode(root);
    await node.thin('daemon', 'start');
    return node;
  }

  thin(...words: string[]): Promise<CommandResult> {
    const env = { THINFS_ROOT: this.root };
    return runCommand(process.execPath, [builtProgram('src/cli/thin.js'), ...words], { env });
  }

  /** An image of this node, with what it has fetched since the daemon started. */
  async image(reference: string): Promise<KnownImage> {
    const { stdout } = await this.thin('status', '--json');
    const { images } = statusSchema.parse(JSON.parse(stdout));
    const image = images.find(({ references }) => references.includes(reference));
    if (image) return image;
    throw new Error(`Cannot find ${reference} on the node (wanted one of its images)`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.thin('daemon', 'stop', '--force');
    const { runFolder } = nodeConfig({ root: this.root }, process.env, process.getuid?.() ?? 0);
    await rm(runFolder, { recursive: true, force: true });
  }
}
