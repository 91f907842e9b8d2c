/*
 * src/page: what a browser shows of a node, as one document that needs no script and loads nothing.
 * Pure: src/daemon gathers the data and serves it. Whatever comes from images, registries and other
 * nodes is escaped (html.ts).
 */
import { formatDuration, formatSize } from '../units.js';
import {
  colourOf,
  deploymentChart,
  deploymentMark,
  shareChart,
  stackedChart,
  type TimeAxis,
} from './charts.js';
import type { Deployment } from './deployment-log.js';
import type { Slot } from './history.js';
import { Html, type HtmlPart, html } from './html.js';
import { type PageChoice, type PageData, pageHours, refreshSeconds, spanMs } from './page-data.js';
import { pageStyle } from './page-style.js';
import {
  pageTable,
  siteSection,
  sourcesSection,
  tierSection,
  waitingSection,
} from './page-tables.js';

/** Starts that stand in the table; the chart has all that are remembered. */
const listedMax = 50;

/** What sources are called; hosts keep their names. */
const sourceNames: Readonly<Record<string, string>> = {
  shelf: 'own shelf',
  peers: 'other nodes',
  origin: 'origin, for the site',
  alone: 'origin, without agreement',
};
/** Sources of a site that are far away. */
const farSources: ReadonlySet<string> = new Set(['origin', 'alone']);

/** The whole document. */
export function nodePage(data: PageData, choice: PageChoice): string {
  const title = `thinfs on ${data.host}`;
  const axis = axisOf(data, choice);
  const shown = data.deployments.filter(({ at }) => at >= axis.from);
  return html`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title><style>${new Html(pageStyle)}</style></head>
<body><a class="skip" href="#main">Skip to the charts</a>
<header><h1>${title}</h1>${overview(data)}${choices(choice)}</header>
<main id="main">
${ratioSection(data, shown, axis)}${bytesSection(data, axis)}${deploymentsSection(data, shown, axis)}${siteSection(data)}${tierSection(data)}${waitingSection(data)}${sourcesSection(data)}
</main></body></html>
`.toString();
}

function overview({ version, upMs, images, mounts, cache, waiting, site }: PageData) {
  const redis = site && (site.agreed ? 'answers' : 'does not answer');
  const facts: readonly (readonly [string, string])[] = [
    ['Version', version],
    ['Running for', formatDuration(upMs)],
    ['Images', `${images}`],
    ['Mounts and containers', `${mounts}`],
    ['Cached', `${formatSize(cache.bytes)} of ${formatSize(cache.quotaBytes)}`],
    ['Reads that wait', `${waiting.length}`],
    ['Site', redis === null ? 'none' : `Redis ${redis}`],
  ];
  return html`<dl>${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function choices({ hours, refresh }: PageChoice): Html {
  const address = (to: number, again: boolean) => `?hours=${to}${again ? '&refresh=1' : ''}`;
  const ranges = pageHours.map((each) => {
    const name = each === 1 ? 'last hour' : `last ${each} hours`;
    if (each === hours) return html`<strong aria-current="page">${name}</strong>`;
    return html`<a href="${address(each, refresh)}">${name}</a>`;
  });
  const again = refresh ? 'stop updating' : `update every ${refreshSeconds} seconds`;
  return html`<nav aria-label="What is shown">${ranges}<a href="${address(hours, !refresh)}">${again}</a></nav>`;
}

function axisOf({ clock, time, spans }: PageData, { hours }: PageChoice): TimeAxis {
  const from = spans[0]?.start ?? clock - spanMs[hours];
  const to = (spans.at(-1)?.start ?? clock) + spanMs[hours];
  return { from, to, label: (at) => clockText(time + at - clock) };
}

/** Hour and minute of a day, without saying of which place more than once. */
function clockText(time: number): string {
  return `${new Date(time).toISOString().slice(11, 16)} UTC`;
}

interface Ratios {
  readonly at: number;
  readonly deployments: number;
  readonly hits: number | undefined;
  readonly near: number | undefined;
}

function ratiosOf(spans: readonly Slot[], shown: readonly Deployment[]): Ratios[] {
  const width = (spans[1]?.start ?? 0) - (spans[0]?.start ?? 0);
  return spans.map(({ start, bytes }) => {
    const some = shown.filter(
      ({ at, end }) => at >= start && at < start + width && end !== 'failed',
    );
    const all = [...bytes.values()].reduce((sum, of) => sum + of, 0);
    const far = [...bytes].reduce(
      (sum, [source, of]) => sum + (farSources.has(source) ? of : 0),
      0,
    );
    return {
      at: start + width / 2,
      deployments: some.length,
      hits: some.length === 0 ? undefined : some.filter(({ hit }) => hit).length / some.length,
      near: all === 0 ? undefined : 1 - far / all,
    };
  });
}

function ratioSection(data: PageData, shown: readonly Deployment[], axis: TimeAxis): Html {
  const ratios = ratiosOf(data.spans, shown);
  const starts = shown.filter(({ end }) => end !== 'failed');
  const hits = starts.filter(({ hit }) => hit).length;
  const summary = `${hits} of ${starts.length} starts needed nothing from the origin.`;
  const hitLine = {
    name: 'starts that needed nothing from the origin',
    points: ratios.map(({ at, hits: share }) => ({ at, share })),
  };
  const siteLine = {
    name: 'bytes that came from the site',
    points: ratios.map(({ at, near: share }) => ({ at, share })),
  };
  const lines = data.site ? [hitLine, siteLine] : [hitLine];
  const drawing = { id: 'hits', title: 'Hit ratio over time', summary };
  const rows = ratios
    .filter(({ hits: some, near }) => some !== undefined || near !== undefined)
    .map(({ at, deployments, hits: share, near }) => [
      axis.label(at),
      deployments,
      percent(share),
      ...(data.site ? [percent(near)] : []),
    ]);
  const heads = ['Time', 'Starts', 'Without the origin', ...(data.site ? ['From the site'] : [])];
  return section('Hit ratio', summary, [
    key(lines.map(({ name }, at) => [swatch(at), name])),
    shareChart(drawing, lines, axis),
    asTable(pageTable('Hit ratio over time', heads, rows)),
  ]);
}

function bytesSection({ spans, site }: PageData, axis: TimeAxis): Html {
  const sources = [...new Set(spans.flatMap(({ bytes }) => [...bytes.keys()]))].filter((source) =>
    spans.some(({ bytes }) => (bytes.get(source) ?? 0) > 0),
  );
  const nameOf = (source: string) => (site ? (sourceNames[source] ?? source) : source);
  const sums = sources.map((source) =>
    spans.reduce((sum, { bytes }) => sum + (bytes.get(source) ?? 0), 0),
  );
  const told = sources.map((source, at) => `${formatSize(sums[at] ?? 0)} from ${nameOf(source)}`);
  const summary = told.length === 0 ? 'Nothing was fetched.' : `${told.join(', ')}.`;
  const drawing = { id: 'bytes', title: 'Bytes by source over time', summary };
  const rows = spans
    .filter(({ bytes }) => [...bytes.values()].some((came) => came > 0))
    .map(({ start, bytes }) => [
      axis.label(start),
      ...sources.map((source) => formatSize(bytes.get(source) ?? 0)),
    ]);
  return section(
    'Bytes by source',
    `${summary} As they were sent; what is read from this disk is not counted.`,
    [
      key(sources.map((source, at) => [swatch(colourOf(at)), nameOf(source)])),
      stackedChart(drawing, spans, sources, axis),
      asTable(pageTable('Bytes by source', ['Time', ...sources.map(nameOf)], rows)),
    ],
  );
}

const ends: Readonly<Record<Deployment['end'], string>> = {
  ready: 'until it was ready',
  ended: 'until its command ended',
  made: 'until it was made',
  failed: 'until it failed',
};

function deploymentsSection(
  { time, clock }: PageData,
  shown: readonly Deployment[],
  axis: TimeAxis,
) {
  const times = shown.filter(({ end }) => end !== 'failed').map(({ ms }) => ms);
  const mean = times.reduce((sum, ms) => sum + ms, 0) / Math.max(times.length, 1);
  const failed = shown.length - times.length;
  const summary =
    shown.length === 0
      ? 'No container was started.'
      : `${times.length} starts, ${(mean / 1000).toFixed(2)} s on average; ${failed} failed.`;
  const drawing = { id: 'deployments', title: 'Time of each start', summary };
  const rows = shown
    .slice(-listedMax)
    .reverse()
    .map(({ at, image, ms, end, originBytes }) => [
      new Date(time + at - clock).toISOString().slice(0, 19).replace('T', ' '),
      image,
      `${(ms / 1000).toFixed(2)} s`,
      ends[end],
      originBytes === undefined ? 'all of it' : formatSize(originBytes),
    ]);
  const heads = ['Time, UTC', 'Image', 'Took', 'What was timed', 'From the origin'];
  return section('Deployment times', summary, [
    key([
      [mark({ end: 'made', hit: true }), 'nothing from the origin'],
      [mark({ end: 'made', hit: false }), 'something from the origin'],
      [mark({ end: 'failed', hit: false }), 'failed'],
    ]),
    deploymentChart(drawing, shown, axis),
    asTable(pageTable(`The last ${rows.length} starts`, heads, rows)),
  ]);
}

function section(title: string, summary: string, parts: readonly HtmlPart[]): Html {
  const id = title.toLowerCase().replace(/ /g, '-');
  return html`<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2><p>${summary}</p>${parts}</section>
`;
}

function asTable(table: Html): Html {
  return html`<details><summary>The same as a table</summary>${table}</details>`;
}

function key(entries: readonly (readonly [Html, string])[]): Html {
  return html`<ul class="key">${entries.map(([sign, name]) => html`<li>${sign}${name}</li>`)}</ul>`;
}

function swatch(colour: number): Html {
  return html`<svg viewBox="0 0 14 14" aria-hidden="true"><rect class="s${colour}" width="14" height="14"/></svg>`;
}

function mark(of: Pick<Deployment, 'end' | 'hit'>): Html {
  return html`<svg viewBox="0 0 14 14" aria-hidden="true">${deploymentMark(of, 7, 7)}</svg>`;
}

function percent(share: number | undefined): string {
  return share === undefined ? '–' : `${Math.round(100 * share)} %`;
}
