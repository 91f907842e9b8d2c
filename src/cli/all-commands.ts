import type { Command } from 'commander';
import { addCheckCommand } from './check.js';
import { addDaemonCommands } from './daemon.js';
import { addHotCommands } from './hot.js';
import { addImageTreeCommands } from './image-tree.js';
import { addInspectCommand } from './inspect.js';
import { addMountCommands } from './mount.js';
import { addPopCommands } from './pop.js';
import type { Run } from './program.js';
import { addPullCommand } from './pull.js';
import { addRunCommand } from './run.js';
import { addStatusCommands } from './status.js';
import { addTierCommands } from './tier.js';

/** In the order of `thin --help`. */
export function addAllCommands(program: Command, run: Run): void {
  addRunCommand(program, run);
  addMountCommands(program, run);
  addPullCommand(program, run);
  addImageTreeCommands(program, run);
  addInspectCommand(program, run);
  addHotCommands(program, run);
  addStatusCommands(program, run);
  addTierCommands(program, run);
  addPopCommands(program, run);
  addCheckCommand(program, run);
  addDaemonCommands(program, run);
}
