import type { HolderStatus } from '../../src/daemon/holder-protocol.js';
import type { TestNode } from './test-node.js';

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
