import { formatSize } from '../../src/units.js';
import { type NeededBytes, summaryOf } from './deployments-table.js';
import type { DeploymentsResult } from './pop-deployments.js';

/** Pixels. */
const width = 900;
const height = 300;
const top = 50;
const bottom = 250;
const bars = { left: 20, width: 300 };
const curve = { left: 400, right: 880 };

const colours = ['#2b6cb0', '#c05621', '#2f855a'];

/** Average time and hit ratio of each variant, and the bytes that have come over the link so far. */
export function deploymentsPlot(
  results: readonly DeploymentsResult[],
  needed: NeededBytes,
): string {
  const summaries = results.map(({ deployments }) => summaryOf(deployments, needed));
  const longest = Math.max(...summaries.map(({ meanMs }) => meanMs), 1);
  const panels = [
    ...results.flatMap(({ variant }, at) => {
      const { meanMs = 0, hitRatio = 0 } = summaries[at] ?? {};
      const colour = colours[at % colours.length] ?? 'black';
      return [
        bar(at, 0, meanMs / longest, `${(meanMs / 1000).toFixed(2)} s`, colour),
        bar(at, 1, hitRatio, `${Math.round(100 * hitRatio)} %`, colour),
        `<text x="${curve.left}" y="${36 + 14 * at}" fill="${colour}">${variant.name}</text>`,
      ];
    }),
    label(bars.left, 'average time of a deployment'),
    label(bars.left + bars.width / 2 + 20, 'hit ratio by bytes'),
    label(curve.left, 'bytes over the link, by deployments'),
    ...curves(results),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">
<title>Deployments of five nodes, shared and separate</title>
<rect width="100%" height="100%" fill="white"/>
${panels.join('\n')}
</svg>
`;
}

function label(x: number, text: string): string {
  return `<text x="${x}" y="18" font-size="13">${text}</text>`;
}

/** @param share of the height */
function bar(at: number, group: number, share: number, text: string, colour: string): string {
  const x = bars.left + group * (bars.width / 2 + 20) + at * 60;
  const length = Math.max(share, 0) * (bottom - top);
  const y = bottom - length;
  return `<rect x="${x}" y="${y.toFixed(1)}" width="44" height="${length.toFixed(1)}" fill="${colour}"/><text x="${x}" y="${(y - 4).toFixed(1)}">${text}</text>`;
}

function curves(results: readonly DeploymentsResult[]): string[] {
  const sums = results.map(({ deployments }) => {
    let bytes = 0;
    return deployments.map((each) => {
      bytes += each.bytes;
      return bytes;
    });
  });
  const most = Math.max(...sums.flat(), 1);
  const count = Math.max(...sums.map(({ length }) => length), 2);
  const x = (at: number) => curve.left + (at / (count - 1)) * (curve.right - curve.left);
  const y = (bytes: number) => bottom - (bytes / most) * (bottom - top - 40);
  const lines = sums.map((points, at) => {
    const path = points.map((bytes, of) => `${x(of).toFixed(1)},${y(bytes).toFixed(1)}`).join(' ');
    const last = points.at(-1) ?? 0;
    const colour = colours[at % colours.length];
    return `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${path}"/><text x="${curve.right}" y="${(y(last) - 5).toFixed(1)}" text-anchor="end" fill="${colour}">${formatSize(last)}</text>`;
  });
  const axis = `<line x1="${curve.left}" x2="${curve.right}" y1="${bottom}" y2="${bottom}" stroke="#999"/>`;
  const ends = `<text x="${curve.left}" y="${bottom + 16}">1</text><text x="${curve.right}" y="${bottom + 16}" text-anchor="end">${count}</text>`;
  return [axis, ends, ...lines];
}
