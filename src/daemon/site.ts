import type { Logger } from 'pino';
import type { NodeConfig } from '../config.js';
import { describeError } from '../errors.js';
import type { PointOfPresence } from '../pop/point-of-presence.js';
import type { Ownership } from './ownership.js';

/** Joins the site, if there is one: no container should miss its files for the sake of it. */
export async function openSite(
  { pop, root, freeSpaceFloor }: NodeConfig,
  owned: Ownership,
  log: Logger,
): Promise<PointOfPresence | undefined> {
  if (!pop) return undefined;
  try {
    const { PointOfPresence } = await import('../pop/point-of-presence.js');
    const site = await PointOfPresence.open(pop, {
      root,
      freeSpaceFloorBytes: freeSpaceFloor,
      onTurn: (why) => {
        if (why) log.warn({ reason: describeError(why) }, 'going on without the PoP');
        else log.info('the PoP is there');
      },
    });
    return owned.use(site);
  } catch (error) {
    log.error({ reason: describeError(error) }, 'this node is not in the PoP');
    return undefined;
  }
}
