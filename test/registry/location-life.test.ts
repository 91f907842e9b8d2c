import t from 'tap';
import { locationLifeMs } from '../../src/registry/location-life.js';

const now = Date.parse('2026-11-21T18:45:00Z');
const life = (query: string) => locationLifeMs(new URL(`https://store.test/blob?${query}`), now);

t.test('a signed URL is used until shortly before it expires', async (t) => {
  t.equal(life('X-Amz-Date=20261121T184500Z&X-Amz-Expires=1200'), 1_185_000);
  t.equal(life('X-Goog-Date=20261121T184400Z&X-Goog-Expires=120'), 45_000);
  t.equal(life(`Expires=${now / 1000 + 60}&Signature=x`), 45_000);
  t.equal(life('se=2026-11-21T18%3A46%3A00Z&sig=x'), 45_000);
  t.equal(life('X-Amz-Date=20261121T184500Z&X-Amz-Expires=604800'), 86_400_000, 'a day at most');
  t.equal(life('Expires=1'), 1, 'it has expired');
});

t.test(
  'one that does not say it, or not in words that we know, is used for five minutes',
  async (t) => {
    for (const query of ['', 'Expires=soon', 'X-Amz-Date=today&X-Amz-Expires=60', 'se=never']) {
      t.equal(life(query), 300_000, query);
    }
  },
);
