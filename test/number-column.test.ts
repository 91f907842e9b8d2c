import t from 'tap';
import { NumberColumn } from '../src/number-column.js';

t.test('numbers stay where they were put while the column grows', async (t) => {
  const column = new NumberColumn();
  t.equal(column.at(0), 0);
  const count = 100_000;
  for (let row = 0; row < count; row++) column.push(2 ** 32 - 1 - row);
  t.equal(column.length, count);
  column.set(16_384, 7);
  const wrong = Array.from({ length: count }, (_, row) => row).filter((row) => {
    return column.at(row) !== (row === 16_384 ? 7 : 2 ** 32 - 1 - row);
  });
  t.same(wrong, []);
  t.equal(column.at(count), 0);
  t.equal(column.at(2 ** 31), 0);
});
