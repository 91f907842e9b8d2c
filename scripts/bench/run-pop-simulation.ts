/**
 * `npm run bench:pop:simulate [-- <trace.json>]`: hit ratios of five nodes by the size of their disks,
 * shared as a site does (each blob at its home) and separate, by the code that chooses homes and what
 * leaves. Without a trace, pulls are drawn from the numbers of seven zones (site-trace.ts). Prints
 * tables and writes dist/pop-simulation.svg.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homesOf } from '../../src/pop/rendezvous.js';
import { type ReplacementPolicy, replacementPolicies } from '../../src/pop-option.js';
import { simulatedDisk } from './simulated-disk.js';
import { drawTrace, type Pull, readTrace, zones } from './site-trace.js';

const nodeCount = 5;
/** Disk of all nodes together, as a share of all blobs. */
const shares = [0.01, 0.02, 0.05, 0.1, 0.2, 0.4];
const nodes = Array.from({ length: nodeCount }, (_, at) => at);

interface Ratios {
  /** Hits among pulls, and their bytes among those of all pulls. */
  readonly pulls: number;
  readonly bytes: number;
}

interface Curve {
  readonly name: string;
  /** By share. */
  readonly ratios: readonly Ratios[];
}

function hitRatios(
  trace: readonly Pull[],
  homes: ReadonlyMap<string, number> | undefined,
  policy: ReplacementPolicy,
  nodeBytes: number,
): Ratios {
  const disks = nodes.map(() => simulatedDisk(policy, nodeBytes));
  let [hits, hitBytes, bytes] = [0, 0, 0];
  for (const { node, blob, size } of trace) {
    const hit = disks[homes?.get(blob) ?? node]?.use(blob, size) === true;
    bytes += size;
    if (!hit) continue;
    hits += 1;
    hitBytes += size;
  }
  for (const disk of disks) disk[Symbol.dispose]();
  return { pulls: hits / trace.length, bytes: hitBytes / bytes };
}

function simulate(trace: readonly Pull[]): Curve[] {
  const sizes = new Map(trace.map(({ blob, size }) => [blob, size]));
  const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  const homes = new Map(
    [...sizes.keys()].map((blob) => [blob, homesOf(blob, nodes, String)[0] ?? 0]),
  );
  return replacementPolicies.flatMap((policy) =>
    [homes, undefined].map((of) => ({
      name: `${of ? 'shared' : 'separate'}, ${policy}`,
      ratios: shares.map((share) => hitRatios(trace, of, policy, (share * total) / nodeCount)),
    })),
  );
}

function table(name: string, pulls: number, curves: readonly Curve[]): string {
  const head = `${name}, ${pulls} pulls`.padEnd(34) + shares.map(percent).join('');
  const rows = curves.flatMap(({ name: curve, ratios }) =>
    (['pulls', 'bytes'] as const).map(
      (of) => `  ${curve}, by ${of}`.padEnd(34) + ratios.map((each) => percent(each[of])).join(''),
    ),
  );
  return `${[head, ...rows].join('\n')}\n\n`;
}

function percent(ratio: number): string {
  return `${(100 * ratio).toFixed(0)} %`.padStart(8);
}

const colors = ['#0b6', '#b60', '#06b', '#b06'];

/** One panel for each trace: hit ratio over the share of all blobs that fits, both in percent; by bytes dashed. */
function plot(panels: readonly (readonly [string, readonly Curve[]])[]): string {
  const [width, height, gap] = [220, 160, 50];
  const x = (at: number) => (at * width) / (shares.length - 1);
  const drawn = panels.map(([name, curves], panel) => {
    const line = (ratios: readonly number[], color: string | undefined, dashes: string) => {
      const points = ratios.map(
        (ratio, of) => `${x(of).toFixed(1)},${(height * (1 - ratio)).toFixed(1)}`,
      );
      return `<polyline fill="none" stroke="${color}" stroke-width="2"${dashes} points="${points.join(' ')}"/>`;
    };
    const lines = curves.flatMap(({ ratios }, at) => [
      line(
        ratios.map(({ pulls }) => pulls),
        colors[at],
        '',
      ),
      line(
        ratios.map(({ bytes }) => bytes),
        colors[at],
        ' stroke-dasharray="4 3"',
      ),
    ]);
    const ticks = shares.map(
      (share, at) =>
        `<text x="${x(at)}" y="${height + 14}" text-anchor="middle">${100 * share}</text>`,
    );
    const [left, top] = [
      gap + (panel % 4) * (width + gap),
      gap + Math.floor(panel / 4) * (height + gap),
    ];
    return `<g transform="translate(${left} ${top})"><rect width="${width}" height="${height}" fill="none" stroke="#999"/><text y="-6">${name}</text><text x="-6" y="8" text-anchor="end">100</text><text x="-6" y="${height}" text-anchor="end">0</text>${ticks.join('')}${lines.join('')}</g>`;
  });
  const names = (panels[0]?.[1] ?? []).map(
    ({ name }, at) => `<text x="${gap + at * 140}" y="20" fill="${colors[at]}">${name}</text>`,
  );
  const [columns, rows] = [Math.min(panels.length, 4), Math.ceil(panels.length / 4)];
  const [w, h] = [gap + columns * (width + gap), gap + rows * (height + gap)];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" font-family="sans-serif" font-size="11"><title>Hit ratio by pulls (by bytes dashed) over the share of all blobs that fits</title><rect width="100%" height="100%" fill="white"/>${names.join('')}${drawn.join('')}</svg>\n`;
}

const [, , file] = process.argv;
const traces: (readonly [string, Pull[]])[] =
  file === undefined
    ? zones.map((zone) => [zone.name, drawTrace(zone, nodeCount)] as const)
    : [[file, readTrace(readFileSync(file, 'utf8'), nodeCount)]];
const panels = traces.map(([name, trace]) => {
  const curves = simulate(trace);
  process.stdout.write(table(name, trace.length, curves));
  return [name, curves] as const;
});
mkdirSync('dist', { recursive: true });
writeFileSync('dist/pop-simulation.svg', plot(panels));
process.stdout.write('dist/pop-simulation.svg\n');
