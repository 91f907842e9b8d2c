import type { Logger } from 'pino';
import type { Digest } from '../digest.js';
import { describeError } from '../errors.js';
import { imageLayers, parseImageConfig } from '../image/image-config.js';
import { formatPlatform } from '../image/platform.js';
import { onceMore } from '../once-more.js';
import type { PullMode } from '../pull/pull-mode.js';
import type { PullProgress } from '../pull/pull-run.js';
import type { RegistryClient } from '../registry/registry-client.js';
import type { CallContext } from './control-server.js';
import { digestsOf, type FullPulls, type ReadImage, type WholeImage } from './full-pulls.js';
import type { ImageArrivals } from './image-arrivals.js';
import type { ImageFolder, ImageRecord } from './image-folder.js';
import { checkPlatform, type Original, readBlob, readOriginal } from './original-image.js';
import type { Stores } from './stores.js';
import { type WantedImage, wantedAgain } from './wanted-image.js';

/** How an image is to come: all of its layers in a mode; used when it is here, or as it comes. */
export interface Way {
  readonly mode: PullMode | undefined;
  readonly early: boolean;
  /** @see FullPulls.prepare */
  readonly prepared?: AsyncDisposable | undefined;
}

/** An image as its registry has it, which has no thin form, or does not need it. */
export interface OriginalForm {
  readonly client: RegistryClient;
  readonly original: Original;
  readonly wanted: WantedImage;
}

export interface WholeImagesParts {
  readonly images: ImageFolder;
  readonly stores: Stores;
  readonly pulls: FullPulls;
  readonly arrivals: ImageArrivals;
  readonly log: Logger;
}

/** Brings images whole: before they are used, or behind their use where it is known what is in them. */
export class WholeImages implements AsyncDisposable {
  readonly arrivals: ImageArrivals;
  readonly #log: Logger;
  readonly #images: ImageFolder;
  readonly #stores: Stores;
  readonly #pulls: FullPulls;

  constructor({ images, stores, pulls, arrivals, log }: WholeImagesParts) {
    this.arrivals = arrivals;
    this.#log = log;
    this.#images = images;
    this.#stores = stores;
    this.#pulls = pulls;
  }

  /** @see FullPulls.prepare */
  prepare(): AsyncDisposable {
    return this.#pulls.prepare();
  }

  /** The image is one of this node when this ends. @throws ThinError as FullPulls.pull does */
  async bring(image: OriginalForm, context: CallContext, way: Way): Promise<void> {
    const { signal } = context;
    const { mode = 'auto', early, prepared } = way;
    const whole = await readWhole(image, signal);
    const again = this.#again(whole.record);
    const known = early ? await this.#pulls.begin(whole, again, signal) : undefined;
    if (known) {
      const { name } = image.wanted;
      const { files, missing } = known;
      context.note(
        `${name}: its layers are known, it starts while ${missing} of ${files} files come`,
      );
      return;
    }
    const digests = digestsOf(whole);
    const onProgress = (progress: PullProgress) => context.pull(digests, progress);
    await this.#pulls.pull(whole, { mode, prepared, signal, onProgress });
  }

  /** An image of this node that is on its way may have to be waited for. @throws ThinError */
  async usable(record: ImageRecord, { early }: Way, context: CallContext): Promise<void> {
    await this.arrivals.usable(record, !early, context);
  }

  /**
   * Pulled images that were not here for good when the last daemon ended: those that may be in use go on to
   * come, the others are removed. One of which neither can be done keeps nothing else from being done.
   */
  async resume(mayUse: (manifest: Digest) => boolean): Promise<void> {
    for (const manifest of this.arrivals.unfinished) {
      const record = this.#images.get(manifest);
      if (record && mayUse(manifest)) this.#pulls.resume(manifest, this.#again(record));
      else await this.#drop(manifest);
    }
  }

  /** Ends what comes while all that brings it is still open. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.arrivals.stop();
  }

  #again(record: WholeImage['record']): ReadImage {
    return async (signal) => {
      const wanted = wantedAgain(record);
      const client = await this.#stores.repository(wanted.source, wanted.reference);
      const original = await readOriginal(client, wanted, signal);
      return readWhole({ client, original, wanted }, signal);
    };
  }

  async #drop(manifest: Digest): Promise<void> {
    try {
      await this.arrivals.forget(manifest);
      await this.#images.remove(manifest);
    } catch (error) {
      const reason = describeError(error);
      this.#log.warn({ manifest, reason }, 'an image that had not come is not removed');
    }
  }
}

/** @throws ThinError `not-found` if it is for another platform; what the registry answers */
async function readWhole(
  { client, original, wanted }: OriginalForm,
  signal: AbortSignal,
): Promise<WholeImage> {
  const bytes = await onceMore(() => readBlob(client, original.manifest.config, signal));
  const config = parseImageConfig(bytes);
  checkPlatform(original, config, wanted);
  const record = {
    manifest: original.digest,
    platform: formatPlatform(wanted.platform),
    references: [wanted.name],
    sources: [wanted.source],
    lastUsed: Date.now(),
  };
  return { client, record, config: bytes, layers: imageLayers(original.manifest, config) };
}
