import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { addImageFlags, type ImageFlags } from './connection.js';
import { openTree } from './image-tree.js';
import type { Run } from './program.js';

export function addInspectCommand(program: Command, run: Run): void {
  addImageFlags(program.command('inspect'))
    .description('What this node knows of an image, as JSON: config, layers, packs, sizes')
    .argument('<image>', 'image reference')
    .action(async (reference: string, flags: ImageFlags) => {
      const { summary, tree } = await openTree(reference, flags, run.signal);
      const config: unknown = JSON.parse(await readFile(summary.configPath, 'utf8'));
      const descriptor: unknown =
        summary.descriptorPath === undefined
          ? null
          : JSON.parse(await readFile(summary.descriptorPath, 'utf8'));
      const inspected = { ...summary, inodes: tree.inodeCount, config, descriptor };
      process.stdout.write(`${JSON.stringify(inspected, null, 2)}\n`);
    });
}
