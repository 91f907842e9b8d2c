import type { Logger } from 'pino';
import type { NodeConfig } from '../config.js';
import { describeError } from '../errors.js';
import type { PointOfPresence } from '../pop/point-of-presence.js';
import type { SharedTier } from '../pop/shared-tier.js';
import type { Ownership } from './ownership.js';

/** What the nodes of the site have in common on a file system, if there is that. */
export async function openShared(
  { shared, root, pop }: NodeConfig,
  owned: Ownership,
  log: Logger,
): Promise<SharedTier | undefined> {
  if (!shared) return undefined;
  const { SharedTier } = await import('../pop/shared-tier.js');
  const { directory } = shared;
  if (!pop && Number.isFinite(shared.quotaBytes)) {
    log.warn(
      { directory },
      'the size of the shared tier is not kept: without --pop nobody knows what is in use',
    );
  }
  const onTurn = (why: string | undefined) => {
    if (why === undefined) log.info({ directory }, 'the shared tier is there');
    else log.warn({ directory, why }, 'going on without the shared tier');
  };
  return owned.use(await SharedTier.open({ ...shared, policy: pop?.policy, root, onTurn }));
}

/** Joins the site, if there is one: no container should miss its files for the sake of it. */
export async function openSite(
  { pop, root, freeSpaceFloor }: NodeConfig,
  owned: Ownership,
  log: Logger,
  shared: SharedTier | undefined,
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
    shared?.join(site.uses((message) => shared.announced(message)));
    return owned.use(site);
  } catch (error) {
    log.error({ reason: describeError(error) }, 'this node is not in the PoP');
    return undefined;
  }
}
