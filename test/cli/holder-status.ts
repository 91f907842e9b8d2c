import type { HolderStatus } from '../../src/daemon/holder-protocol.js';
import { type TestNode, until } from './test-node.js';

export type ShownStatus = Omit<HolderStatus, 'settings'> & {
  readonly program: string;
  readonly flags: Readonly<Record<string, readonly string[]>>;
};

/** What `thin daemon status` tells. @throws Error if no daemon runs */
export async function holderOf(node: TestNode): Promise<ShownStatus> {
  const { code, stdout, stderr } = await node.thin(['daemon', 'status', '--json']);
  if (code !== 0) throw new Error(`thin daemon status exited with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** The daemon, as soon as its server serves. */
export async function serving(node: TestNode): Promise<ShownStatus> {
  let status = await holderOf(node);
  await until('the server serves', async () => {
    status = await holderOf(node);
    return status.phase === 'serving';
  });
  return status;
}

/** Kills the server and waits until its holder knows: what `serving` says next is of another one. */
export async function killServer(node: TestNode): Promise<void> {
  const { serverPid } = await serving(node);
  process.kill(Number(serverPid), 'SIGKILL');
  await until('its holder knows', async () => {
    const after = await holderOf(node);
    return after.phase !== 'serving' || after.serverPid !== serverPid;
  });
}
