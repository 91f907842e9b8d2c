import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ImageSummary, PullEvent } from '../daemon/control-api.js';
import { fromSystemError } from '../errors.js';
import { parsePullMode } from '../pull/pull-mode.js';
import { PullReport } from '../pull/pull-report.js';
import { timelineSvg } from '../pull/timeline-svg.js';
import { addSourceFlags, connectDaemon, type ImageFlags, imageRequest } from './connection.js';
import type { Run } from './program.js';
import { progressStyle } from './progress.js';
import { openPullDisplay } from './pull-display.js';

const examples = `
Examples:
  thin pull localhost:5000/python:1
  thin pull --timeline pull.svg debian:12
  thin pull --json --pull-mode pipelined debian:12

What is here is not downloaded again: layers of other images, and what an interrupted pull had
brought. The image can be used when the command ends; the daemon makes it durable behind that.
Where the daemon has a faster tier (--tier), the layers that arrive last are stored there.`;

interface PullFlags extends ImageFlags {
  pullMode: string;
  timeline?: string;
  json?: boolean;
  quiet?: boolean;
}

export function addPullCommand(program: Command, run: Run): void {
  const command = program
    .command('pull')
    .description('Bring all of an image to this node, whether it has a thin form or not')
    .argument('<image>', 'image reference');
  addSourceFlags(command)
    .option('--pull-mode <mode>', 'auto, parallel, pipelined, sequential or docker', 'auto')
    .option('--timeline <file>', 'draw what network, CPU and disk did, as SVG')
    .option('--json', 'events as JSON lines')
    .option('-q, --quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (image: string, flags: PullFlags) => pullImage(image, flags, run.signal));
}

async function pullImage(image: string, flags: PullFlags, signal: AbortSignal): Promise<void> {
  const mode = parsePullMode(flags.pullMode);
  // As with docker, the registry is asked what the reference means now.
  const request = await imageRequest(image, { ...flags, pull: 'always' });
  const client = await connectDaemon(flags, signal);
  const display = openPullDisplay(progressStyle(flags), image);
  const report = new PullReport();
  const onPull = (event: PullEvent) => {
    report.add(event);
    display.update(event);
  };
  let pulled: ImageSummary;
  try {
    pulled = await client.call(
      'image.pull',
      { ...request, mode },
      {
        signal,
        reconnect: () => connectDaemon(flags, signal),
        onEvent: (event) => {
          if (event.event === 'pull') onPull(event);
          else if (event.event === 'note') display.note(event.message);
        },
      },
    );
  } catch (error) {
    display.close();
    throw error;
  }
  display.finish(pulled, report.samples.length > 0 ? report.summary() : undefined);
  if (flags.timeline !== undefined) await drawTimeline(flags.timeline, image, report);
}

async function drawTimeline(file: string, image: string, report: PullReport): Promise<void> {
  try {
    await writeFile(resolve(file), timelineSvg(`thin pull ${image}`, report.samples));
  } catch (error) {
    throw fromSystemError(`Cannot write timeline ${file}`, error);
  }
}
