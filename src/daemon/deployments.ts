import { parseDigest } from '../digest.js';
import { isThinError } from '../errors.js';
import { type Deployment, type DeploymentEnd, DeploymentLog } from '../page/deployment-log.js';
import type { ImageRecord } from './image-folder.js';
import type { LiveImages } from './live-images.js';
import { readyWatchMs } from './ready-watch.js';

/** Milliseconds after which a container that says nothing counts as started, and its end as no start's. */
const startMs = 30_000;

/** Characters of an image's name that are remembered. */
const nameMax = 300;

interface StartedImage {
  readonly record: Pick<ImageRecord, 'manifest' | 'kind'>;
}

/** What the node knows of its images. */
export interface DeploymentParts {
  readonly images: { list(): readonly Pick<ImageRecord, 'manifest' | 'kind'>[] };
  readonly live: Pick<LiveImages, 'fetched'>;
}

/**
 * A start that may yet be found to be ready: `new`, and that may end, or `quiet` since, and counted as
 * all that it will be if nothing tells that it is ready.
 */
interface Starting {
  phase: 'new' | 'quiet';
  /** Of the origin, when it began; undefined where the image was pulled in full for it. */
  readonly bytesBefore: number | undefined;
  readonly manifest: string;
  timer: NodeJS.Timeout;
  readonly change: (changed: Deployment) => void;
  deployment: Deployment;
}

/** Times the starts of containers. Nothing waits for what is done here. */
export class Deployments implements AsyncDisposable {
  readonly #log = new DeploymentLog();
  readonly #parts: DeploymentParts;
  readonly #starting = new Map<string, Starting>();

  constructor(parts: DeploymentParts) {
    this.#parts = parts;
  }

  /**
   * Starts one.
   * @param bring the image, from wherever it is
   * @param make all that the container needs
   * @throws whatever these throw
   */
  async start<I extends StartedImage, T extends { readonly id: string }>(
    reference: string,
    bring: () => Promise<I>,
    make: (image: I) => Promise<T>,
  ): Promise<T> {
    const at = performance.now();
    const known = new Map(
      this.#parts.images.list().map(({ manifest }) => [manifest, this.#bytesOf(manifest)]),
    );
    const began = { at, image: reference.slice(0, nameMax), originBytes: 0, hit: false };
    try {
      const image = await bring();
      const { manifest, kind } = image.record;
      const made = await make(image);
      const bytesBefore = known.get(manifest) ?? (kind === 'thin' ? 0 : undefined);
      this.#made(
        made.id,
        manifest,
        { ...began, ms: performance.now() - at, end: 'made' },
        bytesBefore,
      );
      return made;
    } catch (error) {
      if (!isThinError(error, 'canceled')) {
        this.#log.add({ ...began, ms: performance.now() - at, end: 'failed' });
      }
      throw error;
    }
  }

  /** Its program has started. */
  ready(id: string): void {
    this.#settle(id, 'ready');
  }

  /** Its command has ended: of one that was just started, that is what it was started for. */
  ended(id: string): void {
    if (this.#starting.get(id)?.phase === 'quiet') this.#forget(id);
    else this.#settle(id, 'ended');
  }

  /** The oldest first. */
  list(): readonly Deployment[] {
    for (const starting of this.#starting.values()) {
      if (starting.phase === 'new') this.#count(starting);
    }
    return this.#log.list();
  }

  #made(
    id: string,
    manifest: string,
    deployment: Deployment,
    bytesBefore: number | undefined,
  ): void {
    this.#forget(id); // another one had the name
    const timer = setTimeout(() => this.#quiet(starting, id), startMs).unref();
    const change = this.#log.add(deployment);
    const starting: Starting = { phase: 'new', bytesBefore, manifest, timer, change, deployment };
    this.#starting.set(id, starting);
    this.#count(starting);
  }

  #quiet(starting: Starting, id: string): void {
    this.#count(starting);
    starting.phase = 'quiet';
    starting.timer = setTimeout(() => this.#forget(id), readyWatchMs - startMs).unref();
  }

  #settle(id: string, end: DeploymentEnd): void {
    const starting = this.#starting.get(id);
    if (!starting) return;
    this.#forget(id);
    const { deployment } = starting;
    starting.deployment = { ...deployment, end, ms: performance.now() - deployment.at };
    this.#count(starting);
  }

  #forget(id: string): void {
    clearTimeout(this.#starting.get(id)?.timer);
    this.#starting.delete(id);
  }

  /** What has come from the origin so far. */
  #count(starting: Starting): void {
    const { bytesBefore, manifest, change, deployment } = starting;
    const bytes = this.#bytesOf(manifest) - (bytesBefore ?? 0);
    const originBytes = bytesBefore === undefined ? undefined : Math.max(bytes, 0);
    starting.deployment = { ...deployment, originBytes, hit: originBytes === 0 };
    change(starting.deployment);
  }

  #bytesOf(manifest: string): number {
    return this.#parts.live.fetched(parseDigest(manifest)).bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { timer } of this.#starting.values()) clearTimeout(timer);
  }
}
