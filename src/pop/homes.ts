import type { Agreement } from './agreement.js';
import { isGone, type Member } from './members.js';
import { type FetchName, stableNameOf } from './pop-keys.js';
import { homesOf } from './rendezvous.js';

/** Homes that are asked: the second was the first until a node has come. */
const homesMax = 2;

/** The site, as one of its nodes sees it. */
type Site = Pick<Agreement, 'node' | 'members'>;

/** Who keeps `name` for the site, may be this node; undefined where nobody serves. */
export function homeOf(site: Site, name: FetchName): Member | undefined {
  return servingHomes(site, name)[0];
}

/** The other nodes that may keep `name`, in the order in which they are asked. */
export function otherHomes(site: Site, name: FetchName): Member[] {
  const homes = servingHomes(site, name).slice(0, homesMax);
  return homes.filter(({ node }) => node !== site.node);
}

/** The same, before them the node that is known to have it. */
export function holdersAndHomes(site: Site, name: FetchName, holder: string): Member[] {
  if (holder === site.node) return otherHomes(site, name);
  const known = site.members.list().filter(({ node }) => node === holder);
  return [...known, ...otherHomes(site, name).filter(({ node }) => node !== holder)];
}

/** Whether nothing is to be had of a node that is known to have something. */
export function isHolderGone({ members }: Site, holder: string): boolean {
  const member = members.list().find(({ node }) => node === holder);
  return !member || isGone(member);
}

/** Members that live and serve, the home of `name` first. */
function servingHomes({ members }: Site, name: FetchName): Member[] {
  const serving = members.list().filter(({ alive, info }) => alive && info.url !== undefined);
  return homesOf(name, serving, ({ node }) => stableNameOf(node));
}
