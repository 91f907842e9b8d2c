import { constants } from 'node:os';
import { type ErrorCode, isThinError } from '../errors.js';

/** What the shell sees, for every error code; listed by `--help`. */
export const exitCodes: Readonly<Record<ErrorCode, number>> = {
  invalid: 2,
  'not-found': 3,
  denied: 4,
  unavailable: 5,
  corrupt: 6,
  'no-space': 7,
  busy: 8,
  canceled: 130,
};

/** An error that is none of ours: a defect. */
const defectExitCode = 1;

export function exitCodeOf(error: unknown): number {
  return isThinError(error) ? exitCodes[error.code] : defectExitCode;
}

/** As shells tell a death by signal. */
export function exitCodeOfSignal(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

export const exitCodeHelp = `Exit codes:
  0 done   1 a defect of this program   2 wrong usage or input   3 not found   4 denied
  5 unreachable or unavailable   6 corrupt bytes   7 no space   8 busy   130 interrupted`;
