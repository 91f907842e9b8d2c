#!/usr/bin/env node
/** `thin`: every command, or the daemon's holder, which loads none of what commands need. */
import { isHolderCall, runHolderProgram } from './holder-program.js';

if (isHolderCall(process.argv)) {
  await runHolderProgram(process.argv);
} else {
  const [{ runProgram }, { buildThin }] = await Promise.all([
    import('./program.js'),
    import('./commands.js'),
  ]);
  await runProgram((run) => buildThin(run, process.argv[2]), process.argv);
}
