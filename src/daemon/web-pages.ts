import type { ServerResponse } from 'node:http';
import { type PageChoice, type PageHours, pageHours, refreshSeconds } from '../page/page-data.js';
import { contentSecurityPolicy } from '../page/page-style.js';
import type { MetricsPage } from './metrics.js';

/** What browsers and other tools can look at. */
export interface WebPages {
  readonly metrics: () => Promise<MetricsPage>;
  /** HTML of the node. */
  readonly node: (choice: PageChoice) => Promise<string>;
}

const hoursDefault: PageHours = 1;

/** Answers `GET /` and `GET /metrics`. @returns false for any other path, without an answer */
export async function answerPage(
  pages: WebPages,
  url: URL,
  response: ServerResponse,
): Promise<boolean> {
  if (url.pathname === '/metrics') {
    const { contentType, text } = await pages.metrics();
    response.writeHead(200, { 'content-type': contentType }).end(text);
    return true;
  }
  if (url.pathname !== '/') return false;
  const choice = choiceOf(url.searchParams);
  const page = await pages.node(choice);
  response.writeHead(200, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': contentSecurityPolicy,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    ...(choice.refresh && { refresh: `${refreshSeconds}` }),
  });
  response.end(page);
  return true;
}

/** What makes no sense is as if it were not asked for. */
function choiceOf(query: URLSearchParams): PageChoice {
  const asked = Number(query.get('hours'));
  const hours = pageHours.find((each) => each === asked);
  return { hours: hours ?? hoursDefault, refresh: query.get('refresh') === '1' };
}
