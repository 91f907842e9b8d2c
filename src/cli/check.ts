import type { Command } from 'commander';
import { ThinError } from '../errors.js';
import { formatSize } from '../units.js';
import { addNodeFlags, connectDaemon, type NodeFlags, showEvents } from './connection.js';
import type { Run } from './program.js';
import { openProgress, progressStyle } from './progress.js';

type CheckFlags = NodeFlags & { readonly json?: boolean; readonly quiet?: boolean };

export function addCheckCommand(program: Command, run: Run): void {
  addNodeFlags(program.command('check'))
    .description('Read all cached files again, and remove what is not what it should be')
    .option('--json', 'events and the result as JSON lines')
    .option('-q, --quiet', 'the result only')
    .addHelpText(
      'after',
      '\nWhat is removed is fetched again when it is needed. Exit code 6 if anything was.',
    )
    .action(async (flags: CheckFlags) => {
      const client = await connectDaemon(flags, run.signal);
      const progress = openProgress(progressStyle(flags));
      const onEvent = showEvents(progress);
      const found = await client
        .call('check', {}, { signal: run.signal, onEvent })
        .finally(() => progress.close());
      const { files, bytes, wrong } = found;
      const text = `${files} files, ${formatSize(bytes)}: ${wrong.length} were wrong`;
      process.stdout.write(
        `${flags.json ? JSON.stringify({ event: 'checked', ...found }) : text}\n`,
      );
      if (wrong.length === 0) return;
      throw new ThinError('corrupt', `Cannot trust this disk: removed ${wrong.join(', ')}`);
    });
}
