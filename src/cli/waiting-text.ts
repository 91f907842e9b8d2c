import type { WaitingRead } from '../daemon/observation.js';
import { formatDuration, formatSize } from '../units.js';

/** One line: who waits for what since when, and why. */
export function describeWaiting(read: WaitingRead): string {
  const file = read.paths[0] ?? read.content.slice(0, 19);
  const image = read.reference ?? read.image.slice(0, 19);
  const where = read.mounts.length > 0 ? ` (${read.mounts.join(', ')})` : '';
  const since = formatDuration(Date.now() - read.since);
  const range = `${formatSize(read.length)} at ${read.offset}`;
  const why = read.error ?? `an answer from ${read.sources.join(', ') || 'nowhere'} is on its way`;
  return `${since}  ${file}, ${range}  ${image}${where}  ${why}`;
}
