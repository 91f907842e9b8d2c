#!/usr/bin/env -S UV_THREADPOOL_SIZE=8 MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072 node --max-semi-space-size=4 --expose-gc
import type { Command } from 'commander';
import { type Run, rootCommand, runProgram } from '../src/cli/program.js';
import { addCheckCommands } from './check-commands.js';
import { addConvertCommand } from './convert-command.js';

const description =
  'Convert container images so that thin can start them before they are downloaded.';

function buildThinify(run: Run): Command {
  const program = rootCommand('thinify', description);
  addConvertCommand(program, run);
  addCheckCommands(program, run);
  return program;
}

await runProgram(buildThinify, process.argv);
