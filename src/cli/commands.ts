import type { Command } from 'commander';
import { addDaemonCommands } from './daemon.js';
import { addImageTreeCommands } from './image-tree.js';
import { addInspectCommand } from './inspect.js';
import { addMountCommands } from './mount.js';
import { type Run, rootCommand } from './program.js';
import { addRunCommand } from './run.js';
import { addStatusCommands } from './status.js';

const description =
  'Start container images at once: mount their file systems and fetch files when they are touched.';

const examples = `
Examples:
  thin run --rm localhost:5000/python:1 python3 -c 'print(1)'
  thin mount --read-only localhost:5000/python:1 /mnt
  thin ls -l localhost:5000/python:1 /usr/bin
  thin status`;

/** Every command of `thin`. */
export function buildThin(run: Run): Command {
  const program = rootCommand('thin', description).addHelpText('after', examples);
  addRunCommand(program, run);
  addMountCommands(program, run);
  addImageTreeCommands(program, run);
  addInspectCommand(program, run);
  addStatusCommands(program, run);
  addDaemonCommands(program, run);
  return program;
}
