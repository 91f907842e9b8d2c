import { readFileSync } from 'node:fs';

/** Fields of /proc/<pid>/stat, counted behind the command's closing bracket: proc(5). */
const stateField = 0;
const startField = 19;

/** A process that has ended and that its parent has not asked for yet (zombie, dead). */
const endedStates = ['Z', 'X'];

/**
 * When a process started, in clock ticks since boot: with the process id a name that is not used
 * twice before the next boot. Undefined if there is no such process, or it has ended.
 */
export function processStart(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (endedStates.includes(fields[stateField] ?? '')) return undefined;
    const start = Number(fields[startField]);
    return Number.isSafeInteger(start) ? start : undefined;
  } catch {
    return undefined;
  }
}
