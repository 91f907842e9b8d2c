import type { Deployment, DeploymentsResult } from './pop-deployments.js';

/** Bytes that a start of an image needs where nothing is here. */
export type NeededBytes = (image: Deployment['image']) => number;

export interface Summary {
  readonly count: number;
  /** Milliseconds, of those that succeeded. */
  readonly meanMs: number;
  readonly medianMs: number;
  readonly slowMs: number;
  /** Over the link. */
  readonly bytes: number;
  /** Of the bytes that all of them need: those that did not come over the link. */
  readonly hitRatio: number;
  readonly errors: number;
}

export function summaryOf(deployments: readonly Deployment[], needed: NeededBytes): Summary {
  const good = deployments.filter(({ error }) => error === undefined);
  const times = good.map(({ ms }) => ms).sort((a, b) => a - b);
  const bytes = sum(deployments.map((each) => each.bytes));
  const all = sum(deployments.map(({ image }) => needed(image)));
  return {
    count: deployments.length,
    meanMs: sum(times) / Math.max(times.length, 1),
    medianMs: times[times.length >> 1] ?? 0,
    slowMs: times[Math.floor(times.length * 0.95)] ?? 0,
    bytes,
    hitRatio: all === 0 ? 0 : 1 - bytes / all,
    errors: deployments.length - good.length,
  };
}

const columns =
  'deployments | average | median | 95th percentile | bytes over the link | hit ratio by bytes | errors';

/** How each variant did, as Markdown. */
export function deploymentsTable(
  results: readonly DeploymentsResult[],
  needed: NeededBytes,
): string {
  const rows = results.map(({ variant, deployments, wrongFiles }) =>
    row(`${variant.name} (${wrongFiles} wrong files)`, summaryOf(deployments, needed)),
  );
  const errors = results.flatMap(({ deployments }) =>
    deployments.flatMap(({ error = [] }) => error),
  );
  return `${[...table('', rows), ...errors].join('\n')}\n`;
}

/** What happened after what, as Markdown. */
export function phasesTable({ deployments }: DeploymentsResult, needed: NeededBytes): string {
  const phases = [...new Set(deployments.map(({ phase }) => phase))];
  const rows = phases.map((phase) =>
    row(
      phase,
      summaryOf(
        deployments.filter((each) => each.phase === phase),
        needed,
      ),
    ),
  );
  return `${table('since', rows).join('\n')}\n`;
}

function table(title: string, rows: readonly string[]): string[] {
  const head = `| ${title} | ${columns} |`;
  return [head, `|${' --- |'.repeat(columns.split('|').length + 1)}`, ...rows];
}

function row(name: string, { count, ...of }: Summary): string {
  const times = [of.meanMs, of.medianMs, of.slowMs].map((ms) => `${(ms / 1000).toFixed(2)} s`);
  const hits = `${(100 * of.hitRatio).toFixed(0)} %`;
  return `| ${[name, count, ...times, of.bytes, hits, of.errors].join(' | ')} |`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
