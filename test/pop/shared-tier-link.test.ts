import t from 'tap';
import { SharedTierLink } from '../../src/pop/shared-tier-link.js';

t.test('where no process can be had, as for want of memory, nothing is answered', async (t) => {
  const start = { directory: 'no\0folder', freeSpaceFloorBytes: 0 };
  using link = new SharedTierLink(start, () => {});
  t.equal(await link.ask({ ask: 'look', known: '' }), undefined);
});
