import { createHash } from 'node:crypto';

/**
 * The nodes in the order in which they are home to `name`: the same on every node, evenly spread, and
 * when a node comes or goes only its own names move (highest random weight hashing).
 * @param stableName what of a node stays the same when it is started again
 */
export function homesOf<T>(
  name: string,
  nodes: readonly T[],
  stableName: (node: T) => string,
): T[] {
  const weighed = nodes.map((node) => ({ node, weight: weightOf(name, stableName(node)) }));
  weighed.sort((a, b) => b.weight - a.weight);
  return weighed.map(({ node }) => node);
}

function weightOf(name: string, node: string): number {
  return createHash('sha1').update(`${name} ${node}`).digest().readUIntBE(0, 6);
}
