/** Builds test images that are missing: `tsx scripts/images/build.ts [name…]`, or all of the tests. */
import { ensureImages } from './image-cache.js';
import { imageNames, testedImageNames } from './recipes.js';

const words = process.argv.slice(2);
const unknown = words.filter((word) => !imageNames.some((name) => name === word));
if (unknown.length > 0) {
  throw new Error(`Cannot build ${unknown.join(', ')}: wanted one of ${imageNames.join(', ')}`);
}
const wanted =
  words.length > 0 ? imageNames.filter((name) => words.includes(name)) : testedImageNames;
await ensureImages(wanted, (name, layout) => process.stdout.write(`${name}: ${layout}\n`));
