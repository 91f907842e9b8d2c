import t from 'tap';
import { CrashHistory } from '../../src/daemon/crash-history.js';

/** Deaths `everyMs` apart, of servers that served for all that time or never did. */
function pauses(history: CrashHistory, count: number, everyMs: number, served: boolean): number[] {
  let at = 1_000_000;
  return Array.from({ length: count }, () => {
    const pause = history.died({ at, lived: everyMs, served });
    at += everyMs + pause;
    return pause;
  });
}

t.test('a server that is killed every two seconds is always started at once', async (t) => {
  const history = new CrashHistory();
  t.same(new Set(pauses(history, 150, 2_000, true)), new Set([0]));
  t.notOk(history.degraded);
  t.equal(history.count, 150);
});

t.test('a crash loop is slowed down, then left to long pauses', async (t) => {
  const history = new CrashHistory();
  const first = pauses(history, 9, 50, true);
  t.same(first, [0, 0, 0, 0, 0, 100, 200, 400, 800]);
  t.notOk(history.degraded);
  t.same(pauses(history, 5, 50, true), [5_000, 10_000, 20_000, 30_000, 30_000]);
  t.ok(history.degraded);
});

t.test('starts that fail slowly are a crash loop too', async (t) => {
  const history = new CrashHistory();
  t.equal(pauses(history, 10, 3_000, false).at(-1), 5_000);
  t.ok(history.degraded);
});

t.test('a server that lives ends the crash loop', async (t) => {
  const history = new CrashHistory();
  pauses(history, 12, 50, false);
  t.ok(history.degraded);
  t.equal(history.died({ at: 2_000_000, lived: 60_000, served: true }), 0);
  t.notOk(history.degraded);
});

t.test('one that hangs for long before it dies has not lived', async (t) => {
  const history = new CrashHistory();
  pauses(history, 10, 50, false);
  history.died({ at: 2_000_000, lived: 60_000, served: false });
  t.ok(history.degraded);
});
