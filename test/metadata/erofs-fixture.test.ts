import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { toTree } from '../../src/metadata/to-tree.js';
import { fixtureTree } from './fixture-tree.js';
import { flatten } from './random-trees.js';

const folder = join(import.meta.dirname, '../../fixtures/metadata');
const image = readFileSync(join(folder, 'v1-every-shape.erofs'));

t.test('an image of version 1 is read as it was meant', async (t) => {
  t.same(flatten(toTree(ErofsImage.parse(image))), flatten(fixtureTree()));
});

t.test('the writer still makes these bytes', async (t) => {
  // Other bytes for the same tree are other digests for every image that is published again.
  t.ok(writeErofs(fixtureTree()).equals(image), 'see FORMAT.md, "Versions", if this is on purpose');
});
