import { writeSync } from 'node:fs';

/** As pino counts them: the server writes to the same place. */
const levels = { info: 30, warn: 40, error: 50 } as const;

/** One JSON line to standard error. */
export function holderLog(
  level: keyof typeof levels,
  msg: string,
  fields: Readonly<Record<string, unknown>> = {},
): void {
  const line = { level: levels[level], time: Date.now(), holder: process.pid, ...fields, msg };
  try {
    writeSync(2, `${JSON.stringify(line)}\n`);
  } catch {
    // A full disk or a closed terminal: what is held matters more than the log.
  }
}
