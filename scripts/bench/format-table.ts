import {
  type ContenderResult,
  type Figure,
  isEnough,
  type MeasurementResult,
} from './measurement.js';

/** A measurement as lines for people: the contenders, then the figures. */
export function formatTable(result: MeasurementResult): string {
  const figures = result.figures.map((figure) => `  ${formatFigure(figure)}\n`).join('');
  return `${result.name}\n${result.contenders.length > 0 ? formatContenders(result) : ''}${figures}`;
}

/** The median of each contender, its range, its ratio. */
function formatContenders({ unit, limit, contenders }: MeasurementResult): string {
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
  return lines.map((line) => `  ${line}\n`).join('');
}

function formatFigure(figure: Figure): string {
  const { name, unit, value, most } = figure;
  const number = Number.isInteger(value) ? formatNumber(value) : value.toFixed(2);
  const wanted = most === undefined ? '' : ` (wanted at most ${most})`;
  return `${name}: ${number}${unit && ` ${unit}`}${wanted}${isEnough(figure) ? '' : ' OVER THE LIMIT'}`;
}

function verdict({ ratio, withinLimit }: ContenderResult, isLimited: boolean): string {
  if (!withinLimit) return 'OVER THE LIMIT';
  return isLimited && ratio !== 1 ? 'within the limit' : '';
}

/** Whole numbers, in groups of three. */
function formatNumber(value: number): string {
  return value
    .toFixed(value < 10 && !Number.isInteger(value) ? 1 : 0)
    .replace(/\B(?=(\d{3})+(?!\d|\.))/g, ' ');
}

function pad(cell: string, width: number, column: number): string {
  return column === 0 || column === 4 ? cell.padEnd(width) : cell.padStart(width);
}
