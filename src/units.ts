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
