import type { ContenderResult, MeasurementResult } from './measurement.js';

/** Pixels. */
const panelWidth = 430;
const labelWidth = 130;
const valueWidth = 60;
const barHeight = 14;
const gap = 4;
const titleHeight = 24;
const panelGap = 18;
const columns = 2;

const colours: readonly (readonly [RegExp, string])[] = [
  [/^thin, auto/, '#2b6cb0'],
  [/^thin/, '#90cdf4'],
  [/^only/, '#cbd5e0'],
  [/./, '#c05621'],
];

/** A part of a measurement's result that the plot needs. */
export type Plotted = Pick<MeasurementResult, 'name'> & {
  readonly contenders: readonly Pick<ContenderResult, 'name' | 'median'>[];
};

/** Deployment time by client and mode: a panel for each image and link, drawn against its longest. */
export function pullPlot(results: readonly Plotted[]): string {
  const rows = Math.max(1, ...results.map(({ contenders }) => contenders.length));
  const panelHeight = titleHeight + rows * (barHeight + gap) + panelGap;
  const height = Math.ceil(results.length / columns) * panelHeight + panelGap;
  const panels = results.map((result, at) => {
    const x = (at % columns) * (panelWidth + panelGap) + panelGap;
    const y = Math.floor(at / columns) * panelHeight + panelGap;
    return drawPanel(result, x, y);
  });
  const width = columns * (panelWidth + panelGap) + panelGap;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    '<title>Time of a pull, by client and mode</title>',
    '<rect width="100%" height="100%" fill="white"/>',
    ...panels,
    '</svg>\n',
  ].join('\n');
}

function drawPanel({ name, contenders }: Plotted, x: number, y: number): string {
  const longest = Math.max(1, ...contenders.map(({ median }) => median));
  const room = panelWidth - labelWidth - valueWidth;
  const bars = contenders.map((contender, at) => {
    const top = y + titleHeight + at * (barHeight + gap);
    const colour = colours.find(([pattern]) => pattern.test(contender.name))?.[1] ?? 'black';
    const length = ((contender.median / longest) * room).toFixed(1);
    const text = `${(contender.median / 1000).toFixed(1)} s`;
    return [
      `<text x="${x}" y="${top + 11}">${escaped(contender.name)}</text>`,
      `<rect x="${x + labelWidth}" y="${top}" width="${length}" height="${barHeight}" fill="${colour}"/>`,
      `<text x="${x + labelWidth + Number(length) + 4}" y="${top + 11}">${text}</text>`,
    ].join('\n');
  });
  return [`<text x="${x}" y="${y + 12}" font-size="13">${escaped(name)}</text>`, ...bars].join(
    '\n',
  );
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
