#!/usr/bin/env node
/** `thin`: every command, or the daemon's holder, which loads none of what commands need. */
import { isHolderCall, runHolderProgram } from './holder-program.js';

if (isHolderCall(process.argv)) {
  await runHolderProgram(process.argv);
} else {
  const { runProgram } = await import('./program.js');
  const { buildThin } = await import('./commands.js');
  await runProgram(buildThin, process.argv);
}
