import { formatDuration, formatSize } from '../units.js';
import { type Html, type HtmlPart, html } from './html.js';
import type { PageData } from './page-data.js';

/** Waiting reads that are told one by one. */
const waitsMax = 20;

type Cell = string | number;

/** Scrolls by itself where it is wider than the page, also with the keyboard. */
export function pageTable(
  caption: string,
  heads: readonly string[],
  rows: readonly (readonly Cell[])[],
): Html {
  const head = heads.map((each) => html`<th scope="col">${each}</th>`);
  const body = rows.map((row) => html`<tr>${row.map((cell) => td(cell))}</tr>`);
  const none = html`<tr><td colspan="${heads.length}">nothing yet</td></tr>`;
  return html`<div class="wide" role="region" tabindex="0" aria-label="${caption}"><table><caption>${caption}</caption><thead><tr>${head}</tr></thead><tbody>${rows.length === 0 ? none : body}</tbody></table></div>`;
}

function td(cell: Cell): Html {
  if (typeof cell === 'number') return html`<td class="number">${cell}</td>`;
  return html`<td>${cell}</td>`;
}

/** The nodes that share, and how they do; nothing of a node that is in no site. */
export function siteSection({ site, time }: PageData): HtmlPart {
  if (!site) return undefined;
  const { members, shared, leases, peers, served, agreed } = site;
  const rows = members.map(({ node, info, alive, silentMs }) => [
    node === site.node ? `${info.host} (this node)` : info.host,
    info.url ?? 'serves nobody',
    alive ? 'alive' : `silent for ${formatDuration(silentMs)}`,
    formatDuration(Math.max(time - info.startedAt, 0)),
    info.work ? formatSize(info.work.kept.bytes) : '–',
    info.work?.held ?? '–',
    info.work?.waiting ?? '–',
  ]);
  const heads = ['Node', 'Address', 'State', 'Up for', 'Keeps', 'Fetches', 'Waits for'];
  const redis = agreed
    ? 'Redis answers.'
    : 'Redis does not answer: each node is on its own, and what is told of the others is old.';
  const waits = leases.waits.map(
    ({ node, pieces, longestMs }) =>
      html`<li>${pieces} of ${node}, the first for ${formatDuration(longestMs)}</li>`,
  );
  return html`<section aria-labelledby="site"><h2 id="site">Site</h2>
<p>${redis} Shared: ${formatSize(shared.bytes)} in ${shared.frames} frames. This node holds ${leases.held} leases and waits for ${leases.waiting} frames${waits.length > 0 ? ':' : '.'}</p>${waits.length > 0 ? html`<ul>${waits}</ul>` : undefined}
<p class="faint">Given to others: ${formatSize(served.bytes)}. Asked of others: ${peers.requests} requests, ${peers.failures} failed, ${peers.wrong} wrong.</p>
${pageTable('Nodes of the site', heads, rows)}</section>
`;
}

/** The folder that the nodes share; nothing of a node that has none. */
export function tierSection({ sharedTier }: PageData): HtmlPart {
  if (!sharedTier) return undefined;
  const { directory, direct, away, counts, waiting } = sharedTier;
  return html`<section aria-labelledby="tier"><h2 id="tier">Shared tier</h2>
<p>${directory} ${away === null ? 'is there' : `is not used: ${away}`}${direct ? '; mounts read it directly, which nobody counts' : ''}.</p>
<p class="faint">Read: ${formatSize(counts.bytes)} in ${counts.reads} reads, ${counts.late} late. Put there: ${formatSize(counts.storedBytes)} in ${counts.stored} files; ${waiting} wait, ${counts.failures} failed. Wrong files removed: ${counts.wrong}.</p></section>
`;
}

export function waitingSection({ waiting, time }: PageData): HtmlPart {
  if (waiting.length === 0) return undefined;
  const rows = waiting
    .slice(0, waitsMax)
    .map(({ reference, paths, since, sources, error }) => [
      reference ?? 'an image without a name',
      paths[0] ?? 'a file',
      formatDuration(Math.max(time - since, 0)),
      sources.join(', '),
      error ?? 'an answer is on its way',
    ]);
  const heads = ['Image', 'File', 'For', 'From', 'Why'];
  return html`<section aria-labelledby="waiting"><h2 id="waiting">Reads that wait</h2>${pageTable(`The longest of ${waiting.length}`, heads, rows)}</section>
`;
}

const states = { unused: 'not asked yet', up: 'works', down: 'does not answer' } as const;

export function sourcesSection({ sources }: PageData): Html {
  const rows = sources.map((each) => [
    each.source,
    states[each.state],
    each.requests,
    each.failures,
    formatSize(each.bytes),
    each.roundTripMs === undefined ? '–' : `${Math.round(each.roundTripMs)} ms`,
  ]);
  const heads = ['Host', 'State', 'Requests', 'Failed', 'Bytes', 'First byte after'];
  return html`<section aria-labelledby="origins"><h2 id="origins">Origins</h2>${pageTable('Since the daemon was started', heads, rows)}</section>
`;
}
