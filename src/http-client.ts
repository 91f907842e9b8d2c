import type { Dispatcher } from 'undici';
import request from 'undici/lib/api/api-request.js';
import Agent from 'undici/lib/dispatcher/agent.js';
import Pool from 'undici/lib/dispatcher/pool.js';

/*
 * undici without fetch, web sockets, caches and mocks: it is loaded in half of the time, which is part
 * of a daemon's first start, and takes 6 MB less of a daemon that has spoken to a registry.
 */
export { Agent, Pool };

/** One request through a pool or agent; fails as undici does. */
export function send(
  dispatcher: Dispatcher,
  url: URL,
  options: Omit<Dispatcher.RequestOptions, 'origin' | 'path'>,
): Promise<Dispatcher.ResponseData> {
  const path = `${url.pathname}${url.search}`;
  return request.call(dispatcher, { ...options, origin: url.origin, path });
}
