import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { fixtureTree } from './fixture-tree.js';

/** Run once a version of the format, never to make a failing test pass. */
const folder = join(import.meta.dirname, '../../fixtures/metadata');
writeFileSync(join(folder, 'v1-every-shape.erofs'), writeErofs(fixtureTree()), { flag: 'wx' });
