import type { Member } from './members.js';
import { type FetchName, stableNameOf } from './pop-keys.js';
import { homesOf } from './rendezvous.js';

/** Homes that are asked: the second was the first until a node has come. */
export const homesMax = 2;

/** Members that live and serve, the home of `name` first. */
export function servingHomes(name: FetchName, members: readonly Member[]): Member[] {
  const serving = members.filter(({ alive, info }) => alive && info.url !== undefined);
  return homesOf(name, serving, ({ node }) => stableNameOf(node));
}
