import { describeError, isThinError } from '../errors.js';
import { exitCodeOf } from './exit-code.js';

/** True for `thin daemon run`, unless help is wanted. */
export function isHolderCall([, , first, second, ...flags]: readonly string[]): boolean {
  const helps = flags.includes('--help') || flags.includes('-h');
  return first === 'daemon' && second === 'run' && !helps;
}

/** Runs the holder from its arguments to its exit code. */
export async function runHolderProgram(argv: readonly string[]): Promise<never> {
  const { runHolder } = await import('../daemon/run-holder.js');
  try {
    await runHolder(argv.slice(4));
    process.exit(0);
  } catch (error) {
    const told = isThinError(error) || !(error instanceof Error) ? undefined : error.stack;
    process.stderr.write(`error: ${told ?? describeError(error)}\n`);
    process.exit(exitCodeOf(error));
  }
}
