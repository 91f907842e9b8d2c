import t from 'tap';
import { Gate } from '../../src/pull/gate.js';
import { signal } from '../cache/cache-rig.js';

t.test('so many are let in, in the order of their coming', async (t) => {
  let limit = 2;
  const gate = new Gate(() => limit);
  const entered: number[] = [];
  const places = [0, 1, 2, 3].map(async (at) => {
    const place = await gate.enter(signal);
    entered.push(at);
    return place;
  });
  await Promise.all([places[0], places[1]]);
  t.same(entered, [0, 1]);
  t.equal(gate.inside, 2);
  (await places[1])?.[Symbol.dispose]();
  await places[2];
  t.same(entered, [0, 1, 2]);
  limit = 3;
  gate.turn();
  await places[3];
  t.same(entered, [0, 1, 2, 3]);
  for (const place of await Promise.all(places.filter((_, at) => at !== 1))) {
    place[Symbol.dispose]();
  }
  t.equal(gate.inside, 0);
});

t.test('who gives up leaves the queue', async (t) => {
  const gate = new Gate(() => 1);
  const first = await gate.enter(signal);
  const stop = new AbortController();
  const second = gate.enter(stop.signal);
  const third = gate.enter(signal);
  stop.abort();
  await t.rejects(second, { code: 'canceled' });
  first[Symbol.dispose]();
  (await third)[Symbol.dispose]();
  await t.rejects(gate.enter(stop.signal), { code: 'canceled' }, 'also before it has come');
  t.equal(gate.inside, 0);
});
