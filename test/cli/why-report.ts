import type { WhyReport } from '../../src/daemon/observation.js';
import type { TestNode } from './test-node.js';

/** What `thin why` tells, as JSON. @throws Error if it does not */
export async function why(node: TestNode, name: string): Promise<WhyReport> {
  const { code, stdout, stderr } = await node.thin(['why', '--json', name]);
  if (code !== 0) throw new Error(`thin why exited with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}
