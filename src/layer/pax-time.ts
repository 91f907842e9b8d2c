import type { Time } from '../image/tree.js';
import { malformedLayer } from './malformed-layer.js';

const nanosecondsPerSecond = 1_000_000_000;

/**
 * `[-]<seconds>[.<fraction>]`: exact to the nanosecond, what is finer cut off. Exponents, signs of
 * other kinds, NaN and seconds beyond 2^53 are refused.
 * @throws ThinError `corrupt`
 */
export function parsePaxTime(text: string): Time {
  const [, sign, whole, fraction = ''] = /^(-?)(\d{1,16})(?:\.(\d*))?$/.exec(text) ?? [];
  const seconds = Number(whole ?? Number.NaN);
  if (!Number.isSafeInteger(seconds)) {
    const shown = JSON.stringify(text.slice(0, 40));
    throw malformedLayer(`PAX time is ${shown} (wanted decimal seconds below 2^53)`);
  }
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (sign !== '-') return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: 0 - seconds, nanoseconds };
  return { seconds: -seconds - 1, nanoseconds: nanosecondsPerSecond - nanoseconds };
}
