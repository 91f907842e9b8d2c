import { formatSize } from '../units.js';
import type { Deployment } from './deployment-log.js';
import type { Slot } from './history.js';
import { type Html, type HtmlPart, html } from './html.js';

/** Of the drawing; the page scales it. */
const width = 900;
const height = 220;
const plot = { left: 70, right: 890, top: 12, bottom: 190 };
/** Kinds of bars that can be told apart; the rest share the last. */
const coloursMax = 5;

/** The times that a chart shows, in milliseconds on the clock of its data. */
export interface TimeAxis {
  readonly from: number;
  readonly to: number;
  /** What people call a time. */
  readonly label: (at: number) => string;
}

/** Shares from 0 to 1 by time; undefined where there was nothing to share. */
export interface ShareLine {
  readonly name: string;
  readonly points: readonly { readonly at: number; readonly share: number | undefined }[];
}

interface Drawing {
  /** Of the chart's elements, which are named after it. */
  readonly id: string;
  readonly title: string;
  /** What is to be seen, in a sentence. */
  readonly summary: string;
}

export function shareChart(drawing: Drawing, lines: readonly ShareLine[], axis: TimeAxis): Html {
  const y = scale(1);
  const x = timeScale(axis);
  const marks = [0, 0.5, 1].map((share) => valueMark(y(share), `${100 * share} %`));
  const drawn = lines.slice(0, 2).map(({ points }, at) => {
    const runs = unbroken(points).map((run) => {
      const path = run.map((point) => `${px(x(point.at))},${px(y(point.share))}`).join(' ');
      return html`<polyline class="line l${at}" points="${path}"/>`;
    });
    const dots = points.flatMap(({ at: time, share }) =>
      share === undefined
        ? []
        : [html`<circle class="s${at}" cx="${px(x(time))}" cy="${px(y(share))}" r="3"/>`],
    );
    return [runs, dots];
  });
  return frame(drawing, axis, [...marks, ...drawn]);
}

/** Bars of what came from each source, one upon the other. */
export function stackedChart(
  drawing: Drawing,
  spans: readonly Slot[],
  sources: readonly string[],
  axis: TimeAxis,
): Html {
  const totals = spans.map(({ bytes }) => [...bytes.values()].reduce((sum, of) => sum + of, 0));
  const most = Math.max(...totals, 1);
  const [x, y] = [timeScale(axis), scale(most)];
  const step = (plot.right - plot.left) / Math.max(spans.length, 1);
  const marks = [0, 0.5, 1].map((share) => valueMark(y(share * most), formatSize(share * most)));
  const bars = spans.map(({ start, bytes }) => {
    let below = 0;
    return sources.map((source, at) => {
      const came = bytes.get(source) ?? 0;
      if (came === 0) return undefined;
      const [low, high] = [y(below), y(below + came)];
      below += came;
      return html`<rect class="s${colourOf(at)}" x="${px(x(start) + 1)}" y="${px(high)}" width="${px(Math.max(step - 2, 1))}" height="${px(low - high)}"/>`;
    });
  });
  return frame(drawing, axis, [...marks, ...bars]);
}

/** A mark for each start: how long it took. */
export function deploymentChart(
  drawing: Drawing,
  deployments: readonly Deployment[],
  axis: TimeAxis,
): Html {
  const longest = Math.max(...deployments.map(({ ms }) => ms), 1);
  const [x, y] = [timeScale(axis), scale(longest)];
  const marks = [0, 0.5, 1].map((share) =>
    valueMark(y(share * longest), `${((share * longest) / 1000).toFixed(2)} s`),
  );
  const dots = deployments.map((each) => deploymentMark(each, x(each.at), y(each.ms)));
  return frame(drawing, axis, [...marks, ...dots]);
}

/** Told apart by shape too. */
export function deploymentMark(
  { end, hit }: Pick<Deployment, 'end' | 'hit'>,
  x: number,
  y: number,
): Html {
  const at = (dx: number, dy: number) => `${px(x + dx)} ${px(y + dy)}`;
  if (end === 'failed') {
    return html`<path class="failed" d="M${at(-4, -4)}L${at(4, 4)}M${at(-4, 4)}L${at(4, -4)}"/>`;
  }
  if (hit) return html`<circle class="s0" cx="${px(x)}" cy="${px(y)}" r="4"/>`;
  return html`<path class="open" d="M${at(0, -5)}L${at(5, 0)}L${at(0, 5)}L${at(-5, 0)}Z"/>`;
}

export function colourOf(at: number): number {
  return Math.min(at, coloursMax - 1);
}

function frame({ id, title, summary }: Drawing, axis: TimeAxis, parts: readonly HtmlPart[]): Html {
  const x = timeScale(axis);
  const times = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const at = axis.from + share * (axis.to - axis.from);
    const anchor = share === 0 ? 'start' : share === 1 ? 'end' : 'middle';
    return html`<text x="${px(x(at))}" y="${plot.bottom + 20}" text-anchor="${anchor}">${axis.label(at)}</text>`;
  });
  return html`<svg viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="${id}-title ${id}-summary">
<title id="${id}-title">${title}</title><desc id="${id}-summary">${summary}</desc>
${parts}<line class="axis" x1="${plot.left}" x2="${plot.right}" y1="${plot.bottom}" y2="${plot.bottom}"/>${times}</svg>`;
}

function valueMark(y: number, text: string): Html {
  return html`<line class="axis" x1="${plot.left}" x2="${plot.right}" y1="${px(y)}" y2="${px(y)}" stroke-opacity="0.5"/><text x="${plot.left - 6}" y="${px(y + 4)}" text-anchor="end">${text}</text>`;
}

function timeScale({ from, to }: TimeAxis): (at: number) => number {
  return (at) => plot.left + ((at - from) / Math.max(to - from, 1)) * (plot.right - plot.left);
}

function scale(most: number): (value: number) => number {
  return (value) => plot.bottom - (value / most) * (plot.bottom - plot.top);
}

/** The parts of a line between which there is nothing. */
function unbroken(points: ShareLine['points']): { at: number; share: number }[][] {
  const runs: { at: number; share: number }[][] = [[]];
  for (const { at, share } of points) {
    if (share === undefined) runs.push([]);
    else runs.at(-1)?.push({ at, share });
  }
  return runs.filter((run) => run.length > 1);
}

function px(value: number): string {
  return value.toFixed(1);
}
