import { promisify } from 'node:util';
import { gunzipSync, gzip } from 'node:zlib';
import { decodeHotList, encodeHotList, type HotList, withRuns } from '../hot/hot-list.js';
import type { PopWords } from '../pop/pop-words.js';

/** Milliseconds for which a start waits for what the site knows of it. */
const patienceMs = 500;
/** Bytes of a list of one run, plain and packed: ten times what real ones have, and less than a frame. */
const sharedBytesMax = 4 * 1024 * 1024;
const packedBytesMax = 512 * 1024;

export type StartKey = Omit<HotList, 'runs'>;

/** What containers of an image and a command read first, as the nodes of the site have recorded it. */
export class SharedStarts {
  readonly #words: PopWords;

  constructor(words: PopWords) {
    this.#words = words;
  }

  /** Undefined if nobody has told of it in time. Never fails. */
  async find(key: StartKey, signal: AbortSignal): Promise<HotList | undefined> {
    const soon = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]);
    const lists = await this.#words.find(subjectOf(key), (bytes) => readList(bytes, key), soon);
    if (lists.length === 0) return undefined;
    return withRuns(
      { ...key, runs: [] },
      lists.flatMap(({ runs }) => runs),
    );
  }

  /** Tells the site of one run. Too long ones stay here. Never fails. */
  async tell(list: HotList): Promise<void> {
    const bytes = encodeHotList(list);
    if (bytes.length > sharedBytesMax) return;
    const packed = await promisify(gzip)(bytes);
    if (packed.length <= packedBytesMax) await this.#words.tell(subjectOf(list), packed);
  }
}

function subjectOf({ image, platform, args }: StartKey): string {
  return `start ${JSON.stringify([image, platform, args])}`;
}

/** Undefined for what is no list, or one of something else. */
function readList(bytes: Buffer, key: StartKey): HotList | undefined {
  try {
    const list = decodeHotList(gunzipSync(bytes, { maxOutputLength: sharedBytesMax }));
    return subjectOf(list) === subjectOf(key) ? list : undefined;
  } catch {
    return undefined;
  }
}
