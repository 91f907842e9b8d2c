import type { ContenderResult, MeasurementResult } from './measurement.js';

/** A measurement as lines for people: the median of each contender, its range, its ratio. */
export function formatTable({ name, unit, limit, contenders }: MeasurementResult): string {
  const rows = contenders.map((contender) => [
    contender.name,
    formatNumber(contender.median),
    `${formatNumber(Math.min(...contender.samples))} to ${formatNumber(Math.max(...contender.samples))}`,
    `${contender.ratio.toFixed(2)}x`,
    verdict(contender, limit !== undefined),
  ]);
  const titles = ['', `median ${unit}`, 'range', 'ratio', ''];
  const table = [titles, ...rows];
  const widths = titles.map((_, column) =>
    Math.max(...table.map((row) => (row[column] ?? '').length)),
  );
  const lines = table.map((row) =>
    row
      .map((cell, column) => pad(cell, widths[column] ?? 0, column))
      .join('  ')
      .trimEnd(),
  );
  return `${name}\n${lines.map((line) => `  ${line}\n`).join('')}`;
}

function verdict({ ratio, withinLimit }: ContenderResult, isLimited: boolean): string {
  if (!withinLimit) return 'OVER THE LIMIT';
  return isLimited && ratio !== 1 ? 'within the limit' : '';
}

/** Whole numbers, in groups of three. */
function formatNumber(value: number): string {
  return value.toFixed(value < 10 ? 1 : 0).replace(/\B(?=(\d{3})+(?!\d|\.))/g, ' ');
}

function pad(cell: string, width: number, column: number): string {
  return column === 0 || column === 4 ? cell.padEnd(width) : cell.padStart(width);
}
