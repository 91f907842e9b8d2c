import type { Digest } from '../digest.js';
import { parseDigest } from '../digest.js';
import { imageLayers, parseImageConfig } from '../image/image-config.js';
import { formatPlatform } from '../image/platform.js';
import { onceMore } from '../once-more.js';
import type { PullMode } from '../pull/pull-mode.js';
import type { PullProgress } from '../pull/pull-run.js';
import type { RegistryClient } from '../registry/registry-client.js';
import type { CallContext } from './control-server.js';
import type { FullPulls, WholeImage } from './full-pulls.js';
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
}

/** Brings images whole: before they are used, or behind their use where it is known what is in them. */
export class WholeImages {
  readonly arrivals: ImageArrivals;
  readonly #images: ImageFolder;
  readonly #stores: Stores;
  readonly #pulls: FullPulls;

  constructor({ images, stores, pulls, arrivals }: WholeImagesParts) {
    this.arrivals = arrivals;
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
    const known = early ? await this.#pulls.begin(whole, signal) : undefined;
    if (known) {
      const { name } = image.wanted;
      const { files, missing } = known;
      context.note(
        `${name}: its layers are known, it starts while ${missing} of ${files} files come`,
      );
      return;
    }
    const digests = whole.layers.map(({ descriptor }) => descriptor.digest);
    const onProgress = (progress: PullProgress) => context.pull(digests, progress);
    await this.#pulls.pull(whole, { mode, prepared, signal, onProgress });
  }

  /** An image of this node that is on its way may have to be waited for. @throws ThinError */
  async usable(record: ImageRecord, { early }: Way, { signal }: CallContext): Promise<void> {
    await this.arrivals.usable(parseDigest(record.manifest), !early, signal);
  }

  /**
   * Pulled images that were not here for good when the last daemon ended: those in use go on to come, the
   * others are removed.
   */
  async resume(inUse: readonly string[]): Promise<void> {
    for (const manifest of this.arrivals.unfinished) {
      const record = this.#images.get(manifest);
      if (record && inUse.includes(manifest)) this.#resume(manifest, wantedAgain(record));
      else await this.#drop(manifest);
    }
  }

  #resume(manifest: Digest, wanted: WantedImage): void {
    this.#pulls.resume(manifest, async (signal) => {
      const client = await this.#stores.repository(wanted.source, wanted.reference);
      const original = await readOriginal(client, wanted, signal);
      return readWhole({ client, original, wanted }, signal);
    });
  }

  async #drop(manifest: Digest): Promise<void> {
    await this.arrivals.forget(manifest);
    await this.#images.remove(manifest);
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
