import { isThinError } from '../errors.js';
import { imageKeys, siteChannel } from './pop-keys.js';
import type { RedisLink } from './redis-link.js';

/** Milliseconds between two heartbeats of use, and for one to be answered. */
const beatMs = 10_000;
const answerMs = 1000;
/** Milliseconds without an answer after which the others are told elsewhere, if that can be. */
const untoldMs = 60_000;
/** Milliseconds after the last of them for which an image counts as in use by a node. */
const inUseMs = 600_000;
/** Images that are remembered, those used last. */
const imagesMax = 10_000;
/** Images in one heartbeat. */
const imagesPerBeatMax = 1000;
const manifestForm = /^sha256:[0-9a-f]{64}$/;

/** How the nodes of a site use an image. */
export interface ImageUse {
  /** Digest of its manifest. */
  readonly image: string;
  /** Milliseconds since it was used last. */
  readonly idleMs: number;
  /** Times that it was mounted. */
  readonly times: number;
  /** Nodes that have it mounted. */
  readonly nodes: readonly string[];
}

/**
 * Which images are mounted where, and when each was used last, as the nodes of the site tell Redis: a
 * node that dies is forgotten some time after its last heartbeat, one that lives never is.
 */
export class ImageUses implements AsyncDisposable {
  readonly #link: RedisLink;
  readonly #node: string;
  readonly #timer: NodeJS.Timeout;
  #inUse: () => readonly string[] = () => [];
  /** Mounted since the last heartbeat that was answered. */
  readonly #mounted = new Map<string, number>();
  #told: readonly string[] = [];
  #toldAt = performance.now();
  #beating: Promise<void> | undefined;

  constructor(link: RedisLink, node: string) {
    this.#link = link;
    this.#node = node;
    this.#timer = setInterval(() => void this.beat(), beatMs).unref();
  }

  /** @param inUse digests of the manifests of what is mounted now */
  begin(inUse: () => readonly string[]): void {
    this.#inUse = inUse;
    void this.beat();
  }

  /** An image was mounted. */
  mounted(image: string): void {
    if (this.#mounted.size >= imagesPerBeatMax) return;
    this.#mounted.set(image, (this.#mounted.get(image) ?? 0) + 1);
    void this.beat();
  }

  /** What is in use, if Redis was not heard of for a while. */
  untold(): readonly string[] {
    return performance.now() - this.#toldAt < untoldMs ? [] : this.#inUse();
  }

  /** Tells what is in use; one at a time. Never fails. */
  beat(): Promise<void> {
    this.#beating ??= this.#beat().finally(() => {
      this.#beating = undefined;
    });
    return this.#beating;
  }

  async #beat(): Promise<void> {
    await Promise.resolve(); // what is mounted at the same moment is told together
    const inUse = new Set(this.#inUse().slice(0, imagesPerBeatMax));
    const mounted = new Map(this.#mounted);
    const left = this.#told.filter((image) => !inUse.has(image));
    const names = new Set([...inUse, ...mounted.keys(), ...left]);
    const images = [...names].flatMap((image) => {
      const state = inUse.has(image) || mounted.has(image) ? 'in' : 'out';
      return [image, state, mounted.get(image) ?? 0];
    });
    const args = [this.#node, inUseMs, imagesMax, ...images];
    try {
      await this.#link.call('use', imageKeys, args, { timeoutMs: answerMs });
    } catch (error) {
      if (!isThinError(error)) throw error;
      return; // the next one tells it
    }
    this.#toldAt = performance.now();
    this.#told = [...inUse, ...mounted.keys()];
    for (const [image, times] of mounted) {
      const more = (this.#mounted.get(image) ?? 0) - times;
      if (more > 0) this.#mounted.set(image, more);
      else this.#mounted.delete(image);
    }
  }

  /**
   * All that is known, those used last first. Undefined where that is too little: Redis does not
   * answer, or has forgotten, and not every node has told it again.
   */
  async list(): Promise<ImageUse[] | undefined> {
    try {
      const answer = await this.#link.call('uses', imageKeys, [inUseMs], { timeoutMs: answerMs });
      return parseUses(answer);
    } catch (error) {
      if (isThinError(error)) return undefined;
      throw error;
    }
  }

  /** Whether this node may do for the site what one should do at a time, for so many milliseconds. */
  async mayTidy(milliseconds: number): Promise<boolean> {
    const answer = this.#link.call('turn', [imageKeys[4]], [this.#node, milliseconds]);
    return (await answer.catch(() => 0)) === 1;
  }

  /** It is done: another may do it. Never fails. */
  async hasTidied(): Promise<void> {
    await this.#link.call('turn', [imageKeys[4]], [this.#node, 1]).catch(() => 0);
  }

  /** Tells all nodes, this one too. Never fails. */
  async announce(message: string): Promise<void> {
    await this.#link.call('announce', [imageKeys[4]], [siteChannel, message]).catch(() => 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#beating;
  }
}

/** `[whether it is known for long enough, [image, ms, times, …], [image node, …]]` of our script. */
function parseUses(answer: unknown): ImageUse[] | undefined {
  const [known, used, inUse]: unknown[] = Array.isArray(answer) ? answer : [];
  if (known !== 1 || !Array.isArray(used) || !Array.isArray(inUse)) return undefined;
  const nodes = new Map<string, string[]>();
  for (const each of inUse) {
    const [image = '', node = ''] = String(each).split(' ');
    nodes.set(image, [...(nodes.get(image) ?? []), node]);
  }
  const uses: ImageUse[] = [];
  for (let at = 0; at + 2 < used.length; at += 3) {
    const [image, idleMs, times] = [String(used[at]), Number(used[at + 1]), Number(used[at + 2])];
    if (!manifestForm.test(image) || !Number.isFinite(idleMs)) continue;
    uses.push({ image, idleMs: Math.max(0, idleMs), times, nodes: nodes.get(image) ?? [] });
  }
  return uses;
}
