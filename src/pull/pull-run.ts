import { setMaxListeners } from 'node:events';
import { availableParallelism } from 'node:os';
import { debuglog } from 'node:util';
import { describeError, isThinError } from '../errors.js';
import { type BroughtLayer, bringLayer, type LayerWay, type PullParts } from './bring-layer.js';
import { canceled } from './canceled.js';
import { Gate } from './gate.js';
import type { Brought, Coming, LayerFlights } from './layer-flights.js';
import type { PullLayer } from './layer-source.js';
import { LinkPolicy } from './link-policy.js';
import { LayerMeter, type LayerState, PullMeter, type PullSample } from './pull-meter.js';
import { type PullMode, type PullPlan, planOf } from './pull-mode.js';
import { TierChoice } from './tier-choice.js';

const debug = debuglog('thinfs:pull');

/** Milliseconds between two looks at how a pull goes. */
const lookMs = 50;
/**
 * Compressed bytes left to come from which on what follows the layers is prepared: as long as a thread
 * takes to start and to merge the layers below, on a link of 1 Gbit/s.
 */
const nearEndBytes = 16 * 1024 * 1024;

export interface PullProgress {
  /** Lowest first. */
  readonly layers: readonly LayerState[];
  /** What happened since the last call. */
  readonly sample: PullSample;
}

export interface RunOptions {
  /** Lowest first. */
  readonly layers: readonly PullLayer[];
  readonly mode: PullMode;
  /**
   * Somebody uses the image as it comes: small layers are first, in which most often is what its config
   * needs, and one that is refused or wrong keeps no other from coming.
   */
  readonly asItComes: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: PullProgress) => void;
  /** A layer is here; they come in any order. */
  readonly onLayer: (index: number, layer: BroughtLayer) => void;
  /** Called some times when there is little left to come. */
  readonly onNearEnd: () => void;
  /** When the pull began, on the clock of `performance.now()`. */
  readonly start: number;
}

/** The layers of one image on their way here, as many at once as its mode has it. */
export class PullRun {
  readonly #parts: PullParts;
  readonly #flights: LayerFlights<BroughtLayer, LayerMeter>;
  readonly #options: RunOptions;
  readonly #plan: PullPlan;
  readonly #policy: LinkPolicy;
  readonly #downloads: Gate;
  readonly #checks: Gate;
  readonly #meters: LayerMeter[] = [];
  readonly #stop = new AbortController();
  readonly #tiers: TierChoice;
  /** Indices of the layers, in the order in which they are to come. */
  readonly #order: readonly number[];
  #meter: PullMeter | undefined;

  constructor(
    parts: PullParts,
    flights: LayerFlights<BroughtLayer, LayerMeter>,
    options: RunOptions,
  ) {
    const cores = availableParallelism();
    const plan = planOf(options.mode, cores);
    this.#parts = parts;
    this.#flights = flights;
    this.#options = options;
    this.#plan = plan;
    this.#policy = new LinkPolicy(cores);
    this.#tiers = new TierChoice(parts.promises);
    const { downloads } = plan;
    this.#downloads = new Gate(() => (downloads === 'adaptive' ? this.#policy.streams : downloads));
    this.#checks = new Gate(() => cores);
    const { layers } = options;
    const order = [...layers.keys()];
    const sizeOf = (index: number) => layers[index]?.descriptor.size ?? 0;
    if (options.asItComes) order.sort((a, b) => sizeOf(a) - sizeOf(b));
    else if (plan.largestFirst) order.sort((a, b) => sizeOf(b) - sizeOf(a));
    this.#order = order;
    setMaxListeners(0, this.#stop.signal); // that of all layers
  }

  /**
   * All layers, lowest first, held until each is disposed. The first failure ends the others, unless the
   * image is used as it comes, and it is of no other layer: then they come before this fails.
   */
  async bring(): Promise<Brought<BroughtLayer>[]> {
    const { signal } = this.#options;
    const onAbort = () => this.#stop.abort(canceled(signal));
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    const coming = this.#join();
    this.#meter = new PullMeter(this.#meters, availableParallelism(), this.#options.start);
    const timer = setInterval(() => this.look(), lookMs);
    try {
      return await allOrNone(coming, {
        onEach: (index, { value }) => this.#options.onLayer(index, value),
        onFailure: (error) => {
          const isOwn = isThinError(error, 'denied', 'not-found', 'corrupt');
          if (!(this.#options.asItComes && isOwn)) this.#stop.abort(error);
        },
      });
    } finally {
      clearInterval(timer);
      signal.removeEventListener('abort', onAbort);
      this.look();
    }
  }

  /** Tells how it goes; to be called once more when what follows the layers is done. */
  look(): void {
    const sample = this.#meter?.sample();
    if (sample === undefined) return;
    if (this.#downloads.inside > 0) this.#policy.sample(sample);
    this.#downloads.turn();
    this.#options.onProgress({ layers: this.#meters.map(({ state }) => state), sample });
    const left = this.#meters.reduce((sum, meter) => sum + leftOf(meter), 0);
    if (left <= nearEndBytes && !this.#stop.signal.aborted) this.#tellNearEnd();
  }

  /** What cannot be prepared, for want of a thread say, is done when it is needed, or fails there. */
  #tellNearEnd(): void {
    try {
      this.#options.onNearEnd();
    } catch (error) {
      debug('%s', describeError(error));
    }
  }

  /** Takes a place in the flight of every layer, in the order in which they are to come. */
  #join(): Promise<Brought<BroughtLayer>>[] {
    const coming: Promise<Brought<BroughtLayer>>[] = [];
    let turn: Promise<unknown> = Promise.resolve();
    let before: Promise<unknown> = Promise.resolve();
    for (const index of this.#order) {
      const layer = this.#options.layers[index];
      if (layer === undefined) continue;
      let taken = (): void => undefined;
      const next = new Promise<void>((resolve) => {
        taken = resolve;
      });
      const order = { turn, place: { before, taken } };
      const { meter, brought } = this.#joinOne(layer, index, order);
      this.#meters[index] = meter;
      coming[index] = brought;
      turn = brought.catch(() => undefined);
      before = Promise.all([before, next]);
    }
    return coming;
  }

  #joinOne(
    layer: PullLayer,
    index: number,
    order: Pick<LayerWay, 'turn' | 'place'>,
  ): Coming<BroughtLayer, LayerMeter> {
    const way: LayerWay = {
      wholeFirst: this.#plan.wholeFirst,
      storesInFlight: this.#plan.storesInFlight,
      checks: this.#checks,
      downloads: this.#downloads,
      ...order,
      connections: (meter) => this.#connections(meter),
      chooseTier: () => this.#chooseTier(index),
    };
    let isOurs = false;
    const bring = (signal: AbortSignal) => {
      isOurs = true;
      const meter = new LayerMeter(layer.descriptor.size);
      return { meter, result: bringLayer({ layer, meter, parts: this.#parts, way, signal }) };
    };
    const coming = this.#flights.join(layer.diffId, bring, this.#stop.signal);
    if (!isOurs) order.place.taken(); // it is not in our line
    if (coming.meter.phase !== 'done') return coming;
    const meter = new LayerMeter(layer.descriptor.size); // what another pull has brought is here
    meter.phase = 'here';
    return { ...coming, meter };
  }

  #chooseTier(index: number): ReturnType<TierChoice['choose']> {
    return this.#tiers.choose(index, {
      layers: this.#meters.map((meter) => ({ left: leftOf(meter), size: meter.size })),
      order: this.#order,
      streams: this.#downloads.limit,
      fast: this.#parts.cache.fastTier,
    });
  }

  /** Streams for which there are no more layers go to the one that has most to come. */
  #connections(meter: LayerMeter): number {
    if (this.#plan.downloads !== 'adaptive') return 1;
    const spare = this.#policy.streams - this.#downloads.inside;
    if (spare <= 0) return 1;
    const left = (of: LayerMeter) => (of.phase === 'downloading' ? leftOf(of) : 0);
    const isLargest = this.#meters.every((other) => left(other) <= left(meter));
    return isLargest ? 1 + spare : 1;
  }
}

/** Compressed bytes that are still to come. */
function leftOf({ phase, size, resumed, downloaded, lost }: LayerMeter): number {
  return phase === 'downloading' || phase === 'waiting' ? size - resumed - downloaded + lost : 0;
}

/** Everything that comes, or the first failure, with what came all the same disposed. */
async function allOrNone<T extends AsyncDisposable>(
  coming: readonly Promise<T>[],
  told: {
    readonly onEach: (index: number, one: T) => void;
    readonly onFailure: (error: unknown) => void;
  },
): Promise<T[]> {
  const failures: unknown[] = [];
  const came: T[] = [];
  const settled = coming.map(async (one, index) => {
    try {
      const it = await one;
      came[index] = it;
      told.onEach(index, it);
    } catch (error) {
      failures.push(error);
      told.onFailure(error);
    }
  });
  await Promise.all(settled);
  if (failures.length === 0) return came;
  for (const one of came) await (one as T | undefined)?.[Symbol.asyncDispose]();
  throw failures[0];
}
