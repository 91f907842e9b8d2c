import { type Digest, isDigest, parseDigest } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import type { HotFolder } from '../hot/hot-folder.js';
import { formatPlatform, parsePlatform } from '../image/platform.js';
import { parseReference, repositoryOf } from '../image/reference.js';
import type { PointOfPresence } from '../pop/point-of-presence.js';
import type { PullMode } from '../pull/pull-mode.js';
import type { ListedManifest, Store } from '../store/store.js';
import { findHotIndex } from '../thin/find-hot-index.js';
import { type FoundThinImage, findThinImage } from '../thin/find-thin-image.js';
import type { CommandPack } from '../thin/hot-index.js';
import { hotManifestsOf } from '../thin/hot-manifest.js';
import type { ThinImageSource } from '../thin/image-store.js';
import { loadThinImage } from '../thin/load-thin-image.js';
import type { OriginalImage } from '../thin/original-image.js';
import { formatSize } from '../units.js';
import type { ImageRequest } from './control-api.js';
import type { CallContext } from './control-server.js';
import type { ImageFolder, ImageRecord } from './image-folder.js';
import type { LiveImages } from './live-images.js';
import { checkPlatform, type Original, readOriginal } from './original-image.js';
import type { Stores } from './stores.js';
import { type WantedImage, wantedImage } from './wanted-image.js';
import type { OriginalForm, Way, WholeImages } from './whole-images.js';

/** What is wrong with a thin form, or with finding it, for which there is the original. */
const passedOver = ['corrupt', 'invalid', 'not-found', 'denied', 'unavailable'] as const;

/** Who asks for an image. */
export interface OpenContext extends CallContext {
  /**
   * Told where is what was published of the starts of an image that is still being opened, as soon as
   * that is known: not where another version of it is here, which may have most of what it needs.
   */
  readonly onHotPacks?: (image: OriginalImage, packs: readonly CommandPack[], store: Store) => void;
}

export interface ImageOpenerParts {
  readonly images: ImageFolder;
  readonly stores: Stores;
  readonly whole: WholeImages;
  readonly hot: HotFolder;
  /** Where an image that has come is opened, from what is in memory of it. */
  readonly live: Pick<LiveImages, 'get'>;
  /** The nodes near this one, which may have an image's metadata. */
  readonly site: PointOfPresence | undefined;
}

/** Brings images to this node: the thin form if somebody published one, else all of it. */
export class ImageOpener {
  readonly #images: ImageFolder;
  readonly #stores: Stores;
  readonly #whole: WholeImages;
  readonly #hot: HotFolder;
  readonly #live: ImageOpenerParts['live'];
  readonly #site: PointOfPresence | undefined;
  /** By manifest digest and place: two commands for one new image make it once. */
  readonly #coming = new Map<string, Promise<ImageRecord>>();

  constructor({ images, stores, whole, hot, live, site }: ImageOpenerParts) {
    this.#images = images;
    this.#stores = stores;
    this.#whole = whole;
    this.#hot = hot;
    this.#live = live;
    this.#site = site;
  }

  /**
   * @param whole all layers are wanted, in this way, although the image may have a thin form. Without it,
   *   and unless the request says otherwise, an image may be used while its layers are on their way.
   * @throws ThinError `not-found`, `denied`, `unavailable`, `corrupt`, `invalid`
   */
  async open(request: ImageRequest, context: OpenContext, whole?: PullMode): Promise<ImageRecord> {
    const wanted = wantedImage(request);
    if (request.username !== undefined && request.password !== undefined) {
      const { username, password } = request;
      this.#stores.logIn(wanted.source, { username, password });
    }
    const here = this.#images.find(wanted.name, formatPlatform(wanted.platform));
    const way = { mode: whole, early: whole === undefined && request.start === 'early' };
    if (here && request.pull !== 'always') {
      await this.#whole.usable(here, way, context);
      return this.#used(here, wanted);
    }
    if (request.pull === 'never') {
      throw new ThinError('not-found', `Cannot use ${wanted.name}: it is not on this node`);
    }
    const record =
      request.store === undefined
        ? await this.#fromRegistry(wanted, context, way)
        : await this.#fromStore(wanted, context);
    await this.#whole.usable(record, way, context);
    return this.#used(record, wanted);
  }

  async #used(record: ImageRecord, wanted: WantedImage): Promise<ImageRecord> {
    const manifest = parseDigest(record.manifest);
    await this.#images.name(wanted.name, manifest);
    return this.#images.get(manifest) ?? record;
  }

  async #fromStore(wanted: WantedImage, context: OpenContext): Promise<ImageRecord> {
    const { reference, platform, source } = wanted;
    const store = this.#stores.open(source);
    const repository = repositoryOf(wanted.reference);
    const { digest, tag } = reference;
    const manifest = digest !== undefined && isDigest(digest) ? digest : undefined;
    const found = await findThinImage(
      this.#near(store),
      { repository, tag, manifest, platform },
      context.signal,
    );
    if (found)
      return this.#once(found.descriptor.image.manifest.digest, wanted, context, () =>
        this.#keepThin(found, wanted, context),
      );
    throw new ThinError(
      'not-found',
      `Cannot use ${wanted.name}: ${store} has no thin image of it for ${formatPlatform(platform)}`,
    );
  }

  async #fromRegistry(wanted: WantedImage, context: OpenContext, way: Way): Promise<ImageRecord> {
    const { reference, source } = wanted;
    const { mode: whole } = way;
    const isNew = this.#images.find(wanted.name, formatPlatform(wanted.platform)) === undefined;
    await using prepared = whole && isNew ? this.#whole.prepare() : undefined;
    const client = await this.#stores.repository(source, reference);
    // Asked for at once: who published for the tag spares the questions that come after the manifest.
    const tagged = whole ? undefined : this.#tagged(wanted, context);
    const original = await readOriginal(client, wanted, context.signal);
    const here = this.#images.get(original.digest);
    if (here) {
      checkPlatform(original, parsePlatform(here.platform), wanted);
      return here;
    }
    return await this.#once(original.digest, wanted, context, async () => {
      if (whole)
        return this.#bringWhole({ client, original, wanted }, context, { ...way, prepared });
      const thin = await this.#openThin({ ...original, tagged: await tagged }, wanted, context);
      if (thin !== 'none' && thin !== 'broken') return thin;
      const { layers } = original.manifest;
      const size = formatSize(layers.reduce((sum, layer) => sum + layer.size, 0));
      const why = thin === 'none' ? ' has no thin form' : '';
      context.note(`${wanted.name}${why}: pulling ${layers.length} layers, ${size}, in full`);
      return this.#bringWhole({ client, original, wanted }, context, way);
    });
  }

  /** Undefined where it cannot be had: what depends on it asks again, and is told why. Never fails. */
  async #tagged(
    wanted: WantedImage,
    { signal }: CallContext,
  ): Promise<readonly ListedManifest[] | undefined> {
    const { tag } = wanted.reference;
    if (tag === undefined) return undefined;
    const store = this.#stores.open(wanted.source);
    return store.tagged(repositoryOf(wanted.reference), tag, signal).catch(() => undefined);
  }

  /** A thin form that is broken, or cannot be had, is told and passed over: there is the original. */
  async #openThin(
    original: Original & { readonly tagged: readonly ListedManifest[] | undefined },
    wanted: WantedImage,
    context: OpenContext,
  ): Promise<ImageRecord | 'none' | 'broken'> {
    const { reference, platform, source } = wanted;
    const store = this.#stores.open(source);
    const repository = repositoryOf(wanted.reference);
    const { digest: manifest, siblings, tagged } = original;
    try {
      const image = { repository, tag: reference.tag, manifest, platform, siblings, tagged };
      const found = await findThinImage(this.#near(store), image, context.signal);
      return found ? await this.#keepThin(found, wanted, context) : 'none';
    } catch (error) {
      // Denied too: the manifest was not, and some registries refuse what they do not know.
      if (!isThinError(error, ...passedOver)) throw error;
      context.note(`the thin form of ${wanted.name} cannot be used: ${error.message}`);
      return 'broken';
    }
  }

  /** Another's outage is ours too, where it asks the same place; that it was canceled is not. */
  async #once(
    manifest: Digest,
    { source }: WantedImage,
    { signal }: CallContext,
    bring: () => Promise<ImageRecord>,
  ): Promise<ImageRecord> {
    const key = `${manifest} ${source.location}`;
    for (let under = this.#coming.get(key); under; under = this.#coming.get(key)) {
      try {
        return await under;
      } catch (error) {
        if (signal.aborted || !isThinError(error, 'canceled')) throw error;
      }
    }
    const coming = bring().finally(() => this.#coming.delete(key));
    this.#coming.set(key, coming);
    return coming;
  }

  async #keepThin(
    found: FoundThinImage,
    wanted: WantedImage,
    context: OpenContext,
  ): Promise<ImageRecord> {
    const { descriptor, descriptorBytes } = found;
    const { manifest, config, platform } = descriptor.image;
    const here = this.#images.get(manifest.digest);
    if (here) return here;
    const store = this.#stores.open(wanted.source);
    const [loaded] = await Promise.all([
      loadThinImage(this.#near(store), descriptor, context.signal),
      this.#keepHotIndex(store, found, wanted, context),
    ]);
    const totals = loaded.chunkMap.fileTotals();
    await this.#images.add(
      {
        manifest: manifest.digest,
        kind: 'thin',
        platform: formatPlatform(platform),
        references: [wanted.name],
        sources: [wanted.source],
        ...totals,
        lastUsed: Date.now(),
      },
      {
        config: Buffer.from(config.text),
        metadata: loaded.metadata,
        descriptor: descriptorBytes,
        chunkMap: loaded.chunkMapBytes,
      },
      { synced: false }, // a power cut may take it: then it is fetched again
    );
    await this.#live.get(manifest.digest, loaded);
    const wire = descriptor.metadata.size + descriptor.chunkMap.size + descriptorBytes.length;
    context.note(
      `${wanted.name}: thin, ${totals.files} files of ${formatSize(totals.fileBytes)} in all, ` +
        `${formatSize(wire)} of metadata fetched from ${store}`,
    );
    return this.#kept(manifest.digest);
  }

  /** What was published of its hot files. It is advice: without it the image starts all the same. */
  async #keepHotIndex(
    store: Store,
    { hot, descriptor }: FoundThinImage,
    wanted: WantedImage,
    { signal, note, onHotPacks }: OpenContext,
  ): Promise<void> {
    const { digest } = descriptor.image.manifest;
    try {
      // A list that is of the tag alone may not have what was published for another tag.
      const ofTag = hotManifestsOf(hot, digest).length > 0;
      const listed = ofTag
        ? hot
        : await store.referrers(repositoryOf(wanted.reference), digest, undefined, signal);
      const onPacks = (packs: readonly CommandPack[]) => {
        if (!this.#hasVersionOf(wanted)) onHotPacks?.(descriptor.image, packs, store);
      };
      const found = await findHotIndex(store, listed, digest, signal, onPacks);
      if (found) await this.#hot.keepPublished(found.bytes, found.index);
    } catch (error) {
      if (!isThinError(error) || signal.aborted) throw error;
      note(`what was published of its hot files cannot be used: ${error.message}`);
    }
  }

  #hasVersionOf(wanted: WantedImage): boolean {
    const names = this.#images.list().flatMap(({ references }) => references);
    return names.some(
      (name) => repositoryOf(parseReference(name)) === repositoryOf(wanted.reference),
    );
  }

  async #bringWhole(image: OriginalForm, context: CallContext, way: Way): Promise<ImageRecord> {
    await this.#whole.bring(image, context, way);
    return this.#kept(image.original.digest);
  }

  /** What others of the site may have is asked of them first. */
  #near(store: Store): ThinImageSource {
    return this.#site?.blobs(store) ?? store;
  }

  #kept(manifest: Digest): ImageRecord {
    const record = this.#images.get(manifest);
    if (record) return record;
    throw new ThinError('unavailable', `Cannot use image ${manifest}: it was removed again`);
  }
}
