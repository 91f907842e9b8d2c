/**
 * A program that publishes images to the directory store `argv[2]`, one after the other, the one
 * named `killed` among them, and says so to its parent: it is killed at some point.
 */
import { openWritableStore } from '../../src/store/open-store.js';
import { publishThinImage } from '../../src/thin/publish-thin-image.js';
import { smallImage } from '../thin/small-image.js';

const { signal } = new AbortController();
const [, , folder = ''] = process.argv;
const { store } = await openWritableStore(`dir:${folder}`, {}, signal);
for (let round = 0; ; round++) {
  const name = round % 3 === 2 ? 'killed' : `${process.pid} ${round}`;
  const publishing = publishThinImage(store, await smallImage(name), signal);
  process.send?.(round);
  await publishing;
}
