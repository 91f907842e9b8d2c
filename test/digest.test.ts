import t from 'tap';
import { digestOf } from '../src/digest.js';

t.test('the digest of more than 2 GiB', async (t) => {
  const zeros = Buffer.alloc(2 ** 31 + 1);
  t.equal(
    digestOf(zeros),
    'sha256:b8030a8ab89280935633d8d991da3d9907c0f12e8b6fc3bfc515f4d440872b6e',
  );
});
