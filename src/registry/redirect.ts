import { ThinError } from '../errors.js';
import { displayUrl } from './http-failure.js';

const redirectStatuses: readonly number[] = [301, 302, 303, 307, 308];

export function isRedirect(status: number): boolean {
  return redirectStatuses.includes(status);
}

/**
 * The URL that an answer's Location header leads to.
 * @param from the URL that answered
 * @throws ThinError `denied` if it is missing, malformed, no HTTP (`file:`), from HTTPS to HTTP, or
 *   carries a user name.
 */
export function resolveLocation(action: string, from: URL, location: string | undefined): URL {
  const refuse = (problem: string): never => {
    throw new ThinError('denied', `${action}: ${from.host} sends us elsewhere: ${problem}`);
  };
  if (location === undefined || !URL.canParse(location, from.href)) {
    return refuse('its Location header is missing or malformed');
  }
  const to = new URL(location, from);
  if (to.protocol !== 'https:' && to.protocol !== 'http:') {
    refuse(`to ${to.protocol} (wanted https:)`);
  }
  if (from.protocol === 'https:' && to.protocol === 'http:') {
    refuse(`from HTTPS to ${displayUrl(to)} (wanted HTTPS again)`);
  }
  if (to.username !== '' || to.password !== '') refuse('with a user name in the URL');
  to.hash = '';
  return to;
}
