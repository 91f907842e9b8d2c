import { ThinError } from '../errors.js';
import { canceled } from './canceled.js';

/** One layer on its way here, for all pulls that want it. */
interface Flight<T, M> {
  readonly meter: M;
  readonly result: Promise<T>;
  readonly stop: AbortController;
  users: number;
}

/** What is on its way: to be seen at once, to be had later. */
export interface Coming<T, M> {
  readonly meter: M;
  /** @throws ThinError `canceled`; what bringing it throws */
  readonly brought: Promise<Brought<T>>;
}

/** What was brought, for one of those who wanted it: to be disposed when he does not need it. */
export interface Brought<T> extends AsyncDisposable {
  readonly value: T;
}

/**
 * Layers that are being brought here, or were and are still needed by a pull: each is brought once,
 * also when several pulls want it. What one brings is disposed when the last of them has left.
 */
export class LayerFlights<T extends Disposable, M> {
  readonly #flights = new Map<string, Flight<T, M>>();

  /**
   * @param key of the layer
   * @param bring is called if nobody brings it yet; its signal is aborted when nobody wants it any more
   * @param signal of this pull: the others go on without it
   */
  join(
    key: string,
    bring: (signal: AbortSignal) => { readonly meter: M; readonly result: Promise<T> },
    signal: AbortSignal,
  ): Coming<T, M> {
    const flight = this.#flights.get(key) ?? this.#start(key, bring);
    flight.users += 1;
    let leaving: Promise<void> | undefined;
    const leave = () => {
      leaving ??= this.#leave(key, flight);
      return leaving;
    };
    const brought = unlessAborted(flight.result, signal).then(
      (value) => ({ value, [Symbol.asyncDispose]: leave }),
      async (error: unknown) => {
        await leave();
        throw error;
      },
    );
    return { meter: flight.meter, brought };
  }

  #start(
    key: string,
    bring: (signal: AbortSignal) => { readonly meter: M; readonly result: Promise<T> },
  ): Flight<T, M> {
    const stop = new AbortController();
    const flight: Flight<T, M> = { ...bring(stop.signal), stop, users: 0 };
    this.#flights.set(key, flight);
    // A failure is not for those who come later: they try again.
    flight.result.catch(() => this.#forget(key, flight));
    return flight;
  }

  /** The last who leaves waits until nothing is under way any more. */
  async #leave(key: string, flight: Flight<T, M>): Promise<void> {
    flight.users -= 1;
    if (flight.users > 0) return;
    this.#forget(key, flight);
    flight.stop.abort(new ThinError('canceled', 'Cannot pull layer: nobody wants it any more'));
    const result = await flight.result.catch(() => undefined);
    result?.[Symbol.dispose]();
  }

  #forget(key: string, flight: Flight<T, M>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }
}

async function unlessAborted<T>(result: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(canceled(signal));
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
  });
  try {
    return await Promise.race([result, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
