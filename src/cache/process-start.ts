import { readFileSync } from 'node:fs';

/** Field of /proc/<pid>/stat, counted behind the command's closing bracket: proc(5), `starttime`. */
const startField = 19;

/**
 * When a process started, in clock ticks since boot: with the process id a name that is not used
 * twice before the next boot. Undefined if there is no such process.
 */
export function processStart(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const start = Number(fields[startField]);
    return Number.isSafeInteger(start) ? start : undefined;
  } catch {
    return undefined;
  }
}
