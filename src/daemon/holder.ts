import { closeSync } from 'node:fs';
import { ThinError } from '../errors.js';
import { CrashHistory } from './crash-history.js';
import { holderLog } from './holder-log.js';
import {
  type HolderStatus,
  mergeSettings,
  type ServerPhase,
  type ServerSettings,
  type ServerStop,
  type StartReport,
  type StopOrder,
} from './holder-protocol.js';
import { type Refusal, type ServerEnd, ServerProcess } from './server-process.js';
import { openFuseDevice } from './spawn-holder.js';

/** Milliseconds before a server that failed at its start is tried again: whoever asked is told. */
const failedStartPauseMs = 20;

type State =
  | { readonly phase: 'stopped' }
  | { readonly phase: 'starting' | 'serving'; readonly server: ServerProcess }
  /** After a death. */
  | { readonly phase: 'waiting'; readonly timer: NodeJS.Timeout; readonly retryAt: number };

/**
 * Keeps /dev/fuse open, so that mounts outlive the server, and starts the server again when it has
 * died. Operations happen one after the other.
 */
export class Holder {
  /** Resolves when a command has stopped the server and no mount needs the device. */
  readonly finished: Promise<void>;
  #isFinished: boolean = false;
  #resolveFinished: () => void = () => {};
  #settings: ServerSettings;
  #device: number | undefined;
  #needed: boolean;
  /** Whether a server has had the device. */
  #isDeviceUsed: boolean = false;
  #state: State = { phase: 'stopped' };
  #lastError: string | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  readonly #crashes = new CrashHistory();
  readonly #startedAt = Date.now();

  /**
   * @param device open /dev/fuse; it is the holder's from now on
   * @param needed whether mounts live by it already
   */
  constructor(settings: ServerSettings, device: number | undefined, needed = false) {
    this.#settings = settings;
    this.#device = device;
    this.#needed = needed;
    this.finished = new Promise((resolve) => {
      this.#resolveFinished = resolve;
    });
  }

  get device(): number | undefined {
    return this.#device;
  }

  /** Whether mounts live by the device. */
  get needed(): boolean {
    const told = 'server' in this.#state ? this.#state.server.needsDevice : undefined;
    return told ?? this.#needed;
  }

  status(): HolderStatus {
    const state = this.#state;
    return {
      pid: process.pid,
      startedAt: this.#startedAt,
      phase: this.#phase(),
      serverPid: 'server' in state ? state.server.pid : undefined,
      retryAt: 'retryAt' in state ? state.retryAt : undefined,
      device: this.#device !== undefined,
      needed: this.needed,
      crashes: this.#crashes.count,
      lastError: this.#lastError,
      settings: this.#settings,
    };
  }

  /** Takes a server over that another holder started. */
  adopt(server: ServerProcess): Promise<StartReport> {
    return this.#oversee(server);
  }

  /** Starts a server unless there is one. @returns when it is ready, or has failed */
  start(settings: ServerSettings): Promise<StartReport> {
    return this.#inTurn(() => {
      if ('server' in this.#state) return this.#state.server.started;
      this.#settings = mergeSettings(this.#settings, settings);
      return this.#launch();
    });
  }

  /**
   * Ends the server and starts another, which may be another version of the program. If that fails
   * the one before goes on.
   */
  restart(settings: ServerSettings, force: boolean): Promise<StartReport> {
    return this.#inTurn(async () => {
      const refusal = await this.#end({ force, unmount: false, again: true });
      if (refusal) return { ready: false, ...refusal };
      const before = this.#settings;
      this.#settings = mergeSettings(before, settings);
      this.#crashes.forget();
      const report = await this.#launch();
      if (report.ready) return report;
      this.#settings = before;
      const again = await this.#launch();
      const outcome = again.ready ? 'the one before goes on' : 'nor the one before';
      return { ...report, message: `${report.message}; ${outcome}` };
    });
  }

  /** Ends the server; then the holder has {@link finished}, unless mounts need the device. */
  stop(order: StopOrder): Promise<Refusal | undefined> {
    return this.#inTurn(async () => {
      const refusal = await this.#end({ ...order, again: false });
      if (order.unmount) this.#needed = false;
      if (!refusal && !this.#needed) this.#finish();
      return refusal;
    });
  }

  #inTurn<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(() => {
      if (!this.#isFinished) return operation();
      throw new ThinError('busy', 'Cannot ask the daemon: it is ending');
    });
    this.#turn = result.catch(() => {});
    return result;
  }

  #finish(): void {
    this.#isFinished = true;
    this.#resolveFinished();
  }

  #phase(): ServerPhase {
    const { phase } = this.#state;
    return phase === 'waiting' && this.#crashes.degraded ? 'degraded' : phase;
  }

  async #end(order: ServerStop): Promise<Refusal | undefined> {
    if (this.#state.phase === 'waiting') clearTimeout(this.#state.timer);
    if ('server' in this.#state) {
      const refusal = await this.#state.server.stop(order);
      if (refusal) return refusal;
    }
    this.#needed = this.needed;
    this.#state = { phase: 'stopped' };
    return undefined;
  }

  #launch(): Promise<StartReport> {
    if (this.#state.phase === 'waiting') clearTimeout(this.#state.timer);
    // The last mount may have ended, and the connection with it: it cannot be mounted again.
    if (this.#isDeviceUsed && !this.needed) this.#renewDevice();
    return this.#oversee(ServerProcess.spawn(this.#settings, this.#device));
  }

  /** @returns when it is ready, or has failed and ended */
  async #oversee(server: ServerProcess, hasFreshDevice = false): Promise<StartReport> {
    this.#isDeviceUsed = true;
    this.#state = { phase: 'starting', server };
    const report = await server.started;
    if (report.ready) {
      this.#state = { phase: 'serving', server };
      void server.ended.then((end) => this.#ended(server, end, 0));
      return report;
    }
    const end = await server.ended;
    if (end.how === 'wants-device' && !hasFreshDevice && !server.stopOrdered) {
      this.#renewDevice();
      return this.#oversee(ServerProcess.spawn(this.#settings, this.#device), true);
    }
    this.#ended(server, { ...end, reason: report.message }, failedStartPauseMs);
    return report;
  }

  #ended(server: ServerProcess, { how, reason }: ServerEnd, pauseMinMs: number): void {
    if (server.stopOrdered) return;
    this.#needed = this.needed;
    this.#state = { phase: 'stopped' };
    if (how === 'in-order') {
      if (!this.#needed) this.#finish();
      return;
    }
    if (how === 'wants-device') this.#renewDevice();
    const at = performance.now();
    const death = { at, lived: at - server.startedAt, served: server.hasServed };
    const pauseMs = Math.max(pauseMinMs, this.#crashes.died(death));
    this.#lastError = reason;
    this.#state = {
      phase: 'waiting',
      timer: setTimeout(() => void this.#launch(), pauseMs),
      retryAt: Date.now() + pauseMs,
    };
    holderLog('warn', reason, { crashes: this.#crashes.count, pauseMs, phase: this.#phase() });
  }

  #renewDevice(): void {
    if (this.#device !== undefined) closeSync(this.#device);
    this.#device = openFuseDevice();
    this.#isDeviceUsed = false;
    this.#needed = false;
  }
}
