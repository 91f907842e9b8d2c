import t from 'tap';
import {
  type LeaseText,
  markOf,
  nodeOf,
  type Quest,
  type QuestEvent,
  questStep,
} from '../../src/pop/lease-protocol.js';
import {
  emptyLease,
  type LeaseModel,
  modelClaim,
  modelPublish,
  modelRelease,
  type Told,
} from './lease-model.js';

/*
 * All orders in which a few nodes can want one frame while they die, give up, fail to fetch, and the
 * lease expires or is lost: every state that can be reached is visited once. The nodes run the real
 * protocol, Redis is the model that leases.test.ts holds against the real one.
 */

interface NodeState {
  readonly quest: Quest | undefined;
  /** A claim on its way to Redis, and an answer on its way back. */
  readonly claim: { readonly insteadOf: LeaseText | undefined } | undefined;
  readonly answer: ReturnType<typeof modelClaim>['answer'] | undefined;
  readonly news: readonly Told['news'][];
  readonly outcome: 'none' | 'fetched' | 'served' | 'dead';
}

interface World {
  readonly redis: LeaseModel;
  readonly nodes: readonly NodeState[];
  /** What may still go wrong, each so many times. */
  readonly deaths: number;
  readonly failures: number;
  readonly expiries: number;
  readonly losses: number;
  /** Whether who waits looks again from time to time. */
  readonly looks: boolean;
  /** Tokens given so far. */
  readonly owned: readonly LeaseText[];
}

const names = ['a', 'b', 'c'];
const idle: NodeState = {
  quest: undefined,
  claim: undefined,
  answer: undefined,
  news: [],
  outcome: 'none',
};

/** Replaces one node. */
function withNode(world: World, at: number, change: Partial<NodeState>): World {
  const nodes = world.nodes.map((node, each) => (each === at ? { ...node, ...change } : node));
  return { ...world, nodes };
}

function deliver(world: World, told: readonly Told[]): World {
  let next = world;
  for (const { node, news } of told) {
    const at = names.indexOf(node);
    const state = next.nodes[at];
    if (state?.quest) next = withNode(next, at, { news: [...state.news, news] });
  }
  return next;
}

function happens(world: World, at: number, event: QuestEvent, change: Partial<NodeState> = {}) {
  const quest = world.nodes[at]?.quest;
  if (!quest) throw new Error('an event for a node that wants nothing');
  const step = questStep(quest, event);
  const claim = step.claim && { claim: { insteadOf: step.claim.insteadOf } };
  return withNode(world, at, { ...change, quest: step.quest, ...claim });
}

/** Everything that can happen next. The last of them are the environment's, and never needed. */
function successors(world: World): { normal: World[]; faults: World[] } {
  const normal: World[] = [];
  const faults: World[] = [];
  for (const [at, node] of world.nodes.entries()) {
    const name = names[at] ?? '';
    const { quest, claim, answer, news, outcome } = node;
    if (outcome !== 'none') continue;
    if (world.deaths > 0) {
      const dead = { ...idle, outcome: 'dead' } as const;
      faults.push({ ...withNode(world, at, dead), deaths: world.deaths - 1 });
    }
    if (!quest) {
      normal.push(
        withNode(world, at, { quest: { at: 'asking' }, claim: { insteadOf: undefined } }),
      );
      continue;
    }
    if (claim) {
      const { model, answer: given } = modelClaim(world.redis, name, claim.insteadOf);
      const owned = given.ours ? [...world.owned, given.lease] : world.owned;
      normal.push({
        ...withNode(world, at, { claim: undefined, answer: given }),
        ...{ redis: model, owned },
      });
    }
    if (answer) normal.push(happens(world, at, { on: 'answer', answer }, { answer: undefined }));
    const [first, ...later] = news;
    if (first) {
      normal.push(happens(world, at, { on: 'news', news: first }, { news: later }));
      if (world.losses > 0) {
        faults.push({ ...withNode(world, at, { news: later }), losses: world.losses - 1 });
      }
    }
    if (quest.at === 'waiting') {
      if (world.looks) normal.push(happens(world, at, { on: 'look' }));
      const owner = world.nodes[names.indexOf(nodeOf(quest.lease))];
      // A node that only seems dead is taken over as well.
      const death = happens(world, at, { on: 'death', node: nodeOf(quest.lease) });
      if (owner?.outcome === 'dead') normal.push(death);
      else if (world.failures > 0) faults.push({ ...death, failures: world.failures - 1 });
    }
    if (quest.at === 'own') {
      const { model, told } = modelPublish(world.redis, markOf(quest.lease));
      const done = withNode(world, at, { ...idle, outcome: 'fetched' });
      normal.push(deliver({ ...done, redis: model }, told));
      if (world.failures > 0) {
        const { model: freed, told: tell } = modelRelease(world.redis, quest.lease);
        const given = { ...withNode(world, at, idle), redis: freed, failures: world.failures - 1 };
        faults.push(deliver(given, tell));
      }
    }
    if (quest.at === 'have') normal.push(askHolder(world, at, quest.mark));
    if (quest.at === 'alone') normal.push(withNode(world, at, { ...idle, outcome: 'fetched' }));
  }
  if (world.expiries > 0 && world.redis.lease !== undefined) {
    const redis = { ...world.redis, lease: undefined };
    faults.push({ ...world, redis, expiries: world.expiries - 1 });
    faults.push({
      ...world,
      redis: { ...redis, waiters: [] },
      expiries: world.expiries - 1,
    });
  }
  return { normal, faults };
}

/** Served by whoever has it; where that one is gone its mark is taken away, and all begins anew. */
function askHolder(world: World, at: number, mark: LeaseText): World {
  const holder = world.nodes[names.indexOf(nodeOf(mark))];
  if (holder?.outcome === 'fetched') return withNode(world, at, { ...idle, outcome: 'served' });
  const { model, told } = modelRelease(world.redis, mark);
  const again = { ...idle, quest: { at: 'asking' }, claim: { insteadOf: undefined } } as const;
  return deliver({ ...withNode(world, at, again), redis: model }, told);
}

/** Visits every state. @returns all of them, by their text, with what may follow without a fault */
function explore(start: World): Map<string, { world: World; normal: string[] }> {
  const seen = new Map<string, { world: World; normal: string[] }>();
  const open = [start];
  for (let world = open.pop(); world; world = open.pop()) {
    const key = JSON.stringify(world);
    if (seen.has(key)) continue;
    const { normal, faults } = successors(world);
    seen.set(key, { world, normal: normal.map((next) => JSON.stringify(next)) });
    open.push(...normal, ...faults);
  }
  return seen;
}

function start(nodes: number, faults: Partial<World>): World {
  const none = { deaths: 0, failures: 0, expiries: 0, losses: 0, looks: true };
  const states = Array.from({ length: nodes }, () => idle);
  return { redis: emptyLease, nodes: states, owned: [], ...none, ...faults };
}

function isOver({ nodes }: World): boolean {
  return nodes.every(({ outcome }) => outcome !== 'none');
}

/** States from which all who live come to their bytes, if nothing more goes wrong. */
function progressing(states: ReadonlyMap<string, { world: World; normal: string[] }>): Set<string> {
  const before = new Map<string, string[]>();
  for (const [key, { normal }] of states) {
    for (const next of normal) before.set(next, [...(before.get(next) ?? []), key]);
  }
  const good = new Set<string>();
  const open = [...states].filter(([, { world }]) => isOver(world)).map(([key]) => key);
  for (let key = open.pop(); key !== undefined; key = open.pop()) {
    if (good.has(key)) continue;
    good.add(key);
    open.push(...(before.get(key) ?? []));
  }
  return good;
}

const cases: [string, World][] = [
  ['three nodes, nothing goes wrong', start(3, {})],
  ['three nodes, one dies', start(3, { deaths: 1 })],
  [
    'two nodes, a death, a failed fetch, a lost lease, lost news',
    start(2, { deaths: 1, failures: 1, expiries: 1, losses: 1 }),
  ],
  ['two nodes, two failures and lost leases', start(2, { failures: 2, expiries: 2 })],
];

for (const [name, from] of cases) {
  t.test(`all orders of ${name}`, async (t) => {
    const states = explore(from);
    t.comment(`${states.size} states`);
    const stuck = [...states.values()].find(({ world, normal }) => {
      return normal.length === 0 && !isOver(world);
    });
    t.equal(stuck, undefined, 'nobody waits for what will not come');
    const good = progressing(states);
    t.equal(good.size, states.size, 'from everywhere there is a way on');
    const twice = [...states.values()].find(({ world: { owned } }) => {
      return new Set(owned.map((lease) => lease.split(' ')[1])).size < owned.length;
    });
    t.equal(twice, undefined, 'no two owners have the same token');
    if (from.deaths + from.failures + from.expiries > 0) return;
    const fetches = [...states.values()].map(
      ({ world }) => world.nodes.filter(({ outcome }) => outcome === 'fetched').length,
    );
    t.equal(Math.max(...fetches), 1, 'and it is fetched once');
  });
}

t.test('news that are not lost are enough: nobody has to look again', async (t) => {
  // No looks, and Redis loses nothing; a death is told by the heartbeats.
  const states = explore(start(3, { deaths: 1, looks: false }));
  const good = progressing(states);
  t.equal(good.size, states.size, 'from everywhere all who live come to their bytes');
  for (const { world } of states.values()) {
    for (const { quest, news } of world.nodes) {
      if (quest?.at !== 'waiting' || news.length > 0) continue;
      const { lease, waiters } = world.redis;
      const name = names[world.nodes.findIndex((node) => node.quest === quest)] ?? '';
      const owner = world.nodes[names.indexOf(nodeOf(quest.lease))];
      const willBeTold = lease === quest.lease && waiters.includes(name);
      if (!willBeTold && owner?.outcome !== 'dead') t.fail(JSON.stringify(world));
    }
  }
  t.pass('whoever waits is registered for the end of the lease that stands, or its owner is dead');
});
