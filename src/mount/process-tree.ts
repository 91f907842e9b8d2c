import { readdirSync, readFileSync } from 'node:fs';

/** Kills a process and all that it has begun, as far as that is known in this moment. Never fails. */
export function killTree(pid: number): void {
  for (const one of [pid, ...descendants(pid)]) {
    try {
      process.kill(one, 'SIGKILL');
    } catch {
      // It has ended, or is another user's.
    }
  }
}

/** @see proc(5): `children` of each thread */
function descendants(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendants(child)]);
}

function childrenOf(pid: number): number[] {
  const tasks = `/proc/${pid}/task`;
  try {
    return readdirSync(tasks).flatMap((task) => {
      const pids = readFileSync(`${tasks}/${task}/children`, 'latin1').split(' ');
      return pids.filter(Boolean).map(Number);
    });
  } catch {
    return []; // it has ended
  }
}
