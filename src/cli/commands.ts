import type { Command } from 'commander';
import { type Run, rootCommand } from './program.js';

const description =
  'Start container images at once: mount their file systems and fetch files when they are touched.';

const examples = `
Examples:
  thin run --rm localhost:5000/python:1 python3 -c 'print(1)'
  thin mount --read-only localhost:5000/python:1 /mnt
  thin ls -l localhost:5000/python:1 /usr/bin
  thin status`;

/**
 * The commands of `thin`. Of those whose start is waited for, by a container or by the command that
 * starts a daemon, only the one that is called is loaded.
 * @param called first word of the command line
 */
export async function buildThin(run: Run, called: string | undefined): Promise<Command> {
  const program = rootCommand('thin', description).addHelpText('after', examples);
  if (called === 'run') {
    (await import('./run.js')).addRunCommand(program, run);
  } else if (called === 'daemon') {
    (await import('./daemon.js')).addDaemonCommands(program, run);
  } else {
    (await import('./all-commands.js')).addAllCommands(program, run);
  }
  return program;
}
