import { ThinError } from './errors.js';

const units: Readonly<Record<string, number>> = {
  '': 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/**
 * Bytes from what people type: `512m`, `20G`, `1.5GiB`, `4096`. Units are powers of 1024, as docker's.
 * @throws ThinError `invalid`
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const bytes = Math.round(
    Number(match?.[1]) * (units[match?.[2]?.toLowerCase() ?? ''] ?? Number.NaN),
  );
  if (!Number.isSafeInteger(bytes)) {
    throw new ThinError('invalid', `Cannot use size "${text}": wanted bytes such as 512m or 20g`);
  }
  return bytes;
}

const milliseconds: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
/** What timers of Node.js can count, 24 days. */
const durationMax = 2 ** 31 - 1;

/**
 * Milliseconds from what people type: `90s`, `5m`, `1.5h`, `250ms`; a number alone is seconds.
 * @throws ThinError `invalid`
 */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h)?$/i.exec(text.trim());
  const unit = milliseconds[match?.[2]?.toLowerCase() ?? 's'] ?? Number.NaN;
  const duration = Math.round(Number(match?.[1]) * unit);
  if (duration >= 0 && duration <= durationMax) return duration;
  throw new ThinError(
    'invalid',
    `Cannot use duration "${text}": wanted at most 24 days, such as 90s or 5m`,
  );
}

/** For people: at most four digits and a unit, `1.4 MB` (powers of 1000, as download sizes are told). */
export function formatSize(bytes: number): string {
  const names = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < names.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} ${names[unit]}`;
}

/** For people: `0.42 s`, `12.3 s`, `3 min 5 s`, from milliseconds. */
export function formatDuration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
