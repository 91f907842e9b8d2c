import { formatSize } from '../units.js';
import { joinedSamples } from './joined-samples.js';
import type { Bottleneck, PullSample } from './pull-meter.js';

/** Pixels. */
const width = 900;
const labelWidth = 150;
const laneHeight = 70;
const laneGap = 14;
const stripHeight = 14;
const axisHeight = 30;
const top = 30;
/** Points of a curve: neighbours are joined where there are more samples. */
const pointsMax = 400;

interface Lane {
  readonly name: string;
  readonly colour: string;
  /** Per second; `share`: of all cores, 0 to 1. */
  readonly value: (sample: PullSample) => number;
  readonly unit: 'rate' | 'share';
}

const perSecond = (of: (sample: PullSample) => number) => (sample: PullSample) =>
  (of(sample) / Math.max(sample.ms, 1)) * 1000;

/** The stages of a pull, in the order in which bytes pass them. */
const lanes: readonly Lane[] = [
  { name: 'network: download', colour: '#2b6cb0', unit: 'rate', value: perSecond((s) => s.bytes) },
  {
    name: 'CPU: verify, inflate, untar',
    colour: '#2f855a',
    unit: 'rate',
    value: perSecond((s) => s.plainBytes),
  },
  { name: 'disk: write', colour: '#b7791f', unit: 'rate', value: perSecond((s) => s.writtenBytes) },
  { name: 'CPU: all cores', colour: '#805ad5', unit: 'share', value: (sample) => sample.cpu },
];

const colours: Readonly<Record<Bottleneck, string>> = {
  network: '#2b6cb0',
  cpu: '#2f855a',
  disk: '#b7791f',
};

/**
 * What network, CPU and disk did over the time of one pull, a lane for each stage, and below them what
 * the pull waited for. Each lane is drawn against its own highest value.
 * @param title for people
 */
export function timelineSvg(title: string, samples: readonly PullSample[]): string {
  const steps = joinedSamples(samples, Math.max(1, Math.ceil(samples.length / pointsMax)));
  const total = steps.at(-1)?.at ?? 1;
  const x = (ms: number) => labelWidth + (ms / total) * (width - labelWidth - 10);
  const height = top + lanes.length * (laneHeight + laneGap) + stripHeight + axisHeight;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    '<rect width="100%" height="100%" fill="white"/>',
    `<text x="10" y="18" font-size="14">${escaped(title)}</text>`,
    ...lanes.map((lane, at) => drawLane(lane, steps, top + at * (laneHeight + laneGap), x)),
    drawStrip(steps, height - axisHeight - stripHeight, x),
    drawAxis(total, height - axisHeight, x),
    '</svg>\n',
  ].join('\n');
}

function drawLane(
  { name, colour, unit, value }: Lane,
  steps: readonly PullSample[],
  y: number,
  x: (ms: number) => number,
): string {
  const values = steps.map(value);
  const highest = unit === 'share' ? 1 : Math.max(...values, 1);
  const bottom = y + laneHeight;
  let from = 0;
  const points = steps.flatMap(({ at }, index) => {
    const level = bottom - ((values[index] ?? 0) / highest) * laneHeight;
    const corner = [`${px(x(from))},${px(level)}`, `${px(x(at))},${px(level)}`];
    from = at;
    return corner;
  });
  const scale = unit === 'share' ? '100 %' : `${formatSize(highest)}/s`;
  return [
    `<text x="10" y="${y + 12}">${name}</text>`,
    `<text x="10" y="${y + 26}" fill="#666">highest: ${scale}</text>`,
    `<polygon fill="${colour}" fill-opacity="0.6" points="${px(x(0))},${bottom} ${points.join(' ')} ${px(x(from))},${bottom}"/>`,
    `<line x1="${px(x(0))}" x2="${px(x(from))}" y1="${bottom}" y2="${bottom}" stroke="#999"/>`,
  ].join('\n');
}

function drawStrip(steps: readonly PullSample[], y: number, x: (ms: number) => number): string {
  let from = 0;
  const boxes = steps.map(({ at, bottleneck }) => {
    const box = `<rect x="${px(x(from))}" y="${y}" width="${px(x(at) - x(from))}" height="${stripHeight}" fill="${colours[bottleneck]}"><title>${bottleneck}</title></rect>`;
    from = at;
    return box;
  });
  return [`<text x="10" y="${y + 11}">waited for</text>`, ...boxes].join('\n');
}

/** About ten marks, at round numbers of seconds. */
function drawAxis(total: number, y: number, x: (ms: number) => number): string {
  const rough = total / 1000 / 10;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 0.001)));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough) ?? power;
  const marks: string[] = [];
  for (let seconds = 0; seconds * 1000 <= total; seconds += step) {
    const at = px(x(seconds * 1000));
    const text = `${Number(seconds.toPrecision(6))} s`;
    marks.push(`<text x="${at}" y="${y + 16}" text-anchor="middle">${text}</text>`);
  }
  return marks.join('\n');
}

function px(value: number): string {
  return value.toFixed(1);
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
