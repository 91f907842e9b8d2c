import { writeSync } from 'node:fs';
import { LRUCache } from 'lru-cache';
import { type Logger, pino } from 'pino';
import type { ReadInFlight } from '../cache/reads-in-flight.js';
import type { LogLevel } from '../config.js';
import { describeError, type ThinError } from '../errors.js';
import type { OnTurn } from '../store/source-health.js';

/** Files of which a failed read is remembered, and for how long, in milliseconds. */
const failedMax = 1024;
const failedLifeMs = 3_600_000;

/** JSON lines to standard error, written before the call returns: the last words are the best. */
export function openLog(level: LogLevel): Logger {
  return pino(
    { base: null, level, serializers: { err: withoutDetails } },
    { write: toStandardError },
  );
}

/** A full disk or a closed terminal costs the line, not the daemon. */
function toStandardError(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // There is nowhere else to tell it.
  }
}

/** Messages are redacted where they are made; what libraries hang on their errors is not. */
function withoutDetails(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const code = 'code' in error ? { code: String(error.code) } : {};
  return { ...code, message: describeError(error), stack: error.stack };
}

/** Says when a host of stores fails each time, and when it is back. */
export function outageLog(log: Logger): OnTurn {
  return (source, why) => {
    if (why) log.warn({ source, reason: describeError(why) }, 'source is down, reads wait');
    else log.info({ source }, 'source is back');
  };
}

/** Says once for each file, in an hour, that a program saw a read of it fail. */
export function failedReadLog(log: Logger): (error: ThinError, read: ReadInFlight) => void {
  const told = new LRUCache<string, true>({ max: failedMax, ttl: failedLifeMs });
  return (error, { content, offset, length, since }) => {
    if (told.has(content)) return;
    told.set(content, true);
    const waitedMs = Date.now() - since;
    const reason = describeError(error);
    log.error({ content, offset, length, waitedMs, code: error.code, reason }, 'a read failed');
  };
}
