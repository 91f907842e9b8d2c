/** Builds the test images that are missing, all or those named: `tsx scripts/images/build.ts [name…]`. */
import { ensureImage } from './image-cache.js';
import { imageNames } from './recipes.js';

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !imageNames.some((known) => known === name));
if (unknown.length > 0) {
  throw new Error(`Cannot build ${unknown.join(', ')}: wanted one of ${imageNames.join(', ')}`);
}
for (const name of imageNames) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const started = performance.now();
  const layout = await ensureImage(name);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(`${name}: ${layout} (${seconds} s)\n`);
}
