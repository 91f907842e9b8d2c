import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { PointOfPresence } from '../../src/pop/point-of-presence.js';
import { cleanUp } from '../support/clean-up.js';
import { RedisServer } from './redis-server.js';
import { slowAnswerMs, until } from './site.js';

export interface JoinOptions {
  readonly secret?: string;
  /** Waits until it sees so many live nodes. */
  readonly members?: number;
  /** Loses no more to a Redis that does not answer than a real one does. */
  readonly hasty?: boolean;
}

export interface TestSite {
  readonly redis: RedisServer;
  /** Of each node's state, by its name, and of `secretFile`. */
  readonly folder: string;
  readonly secretFile: string;
  /** A node that serves the others, until the test ends. */
  readonly join1: (t: Test, name: string, options?: JoinOptions) => Promise<PointOfPresence>;
}

/** A real Redis, and nodes in this process. */
export async function openTestSite(t: Test): Promise<TestSite> {
  const redis = await RedisServer.start(t);
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-pop-'));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
  const secretFile = join(folder, 'secret');
  writeFileSync(secretFile, 'a secret of the site of this test');
  const join1 = async (t: Test, name: string, options: JoinOptions = {}) => {
    const { secret = secretFile, members = 1, hasty = false } = options;
    const config = {
      redis: redis.address,
      secretFile: secret,
      listen: { host: '127.0.0.1', port: 0 },
      sizeBytes: 2 ** 30,
      policy: 'lru' as const,
      uploadBytesPerSecond: 2 ** 30,
    };
    const places = {
      root: join(folder, name),
      freeSpaceFloorBytes: 0,
      onTurn: () => undefined,
      ...(!hasty && { redisAnswerMs: slowAnswerMs }),
    };
    const node = await PointOfPresence.open(config, places);
    cleanUp(t, () => node[Symbol.asyncDispose]());
    await until(() => alive(node) >= members);
    return node;
  };
  return { redis, folder, secretFile, join1 };
}

/** Nodes that `node` sees alive. */
export function alive(node: PointOfPresence): number {
  const { members, agreed } = node.report();
  return agreed ? members.filter((member) => member.alive && member.info.url).length : 0;
}
