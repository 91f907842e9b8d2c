import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError, isThinError } from '../errors.js';
import { holderLog } from './holder-log.js';
import {
  deviceDescriptor,
  deviceVariable,
  linkDescriptor,
  linkVariable,
  type ServerNews,
  type ServerSettings,
  type ServerStop,
  settingsOf,
} from './holder-protocol.js';
import { onJsonLine } from './json-lines.js';
import { openFuseDevice, spawnHolder, withoutHolderArguments } from './spawn-holder.js';

/** Holders that are started one after the other, and milliseconds between two of them. */
const successorsMax = 5;
const successorPauseMs = 1_000;
/** Milliseconds after which a death is a new one. */
const successorSettledMs = 60_000;

/**
 * The server's side of what connects it to its holder. A server that was started without one starts
 * its own, and another one when that dies: they have /dev/fuse in common, so either may be killed.
 */
export class HolderLink {
  /** /dev/fuse, held also by the holder; undefined where composed mounts cannot be had. */
  readonly device: number | undefined;
  readonly #settings: ServerSettings;
  #socket: Socket;
  #phase: 'starting' | 'ready' | 'leaving' = 'starting';
  #needsDevice = false;
  #successors = 0;
  #lastDeath = 0;
  #order: ServerStop | undefined;
  #onStop: ((order: ServerStop) => Promise<void>) | undefined;

  /** @param words flags that this server was given */
  static open(words: readonly string[]): HolderLink {
    const inherited = process.env[linkVariable] !== undefined;
    const held = process.env[deviceVariable] !== undefined ? deviceDescriptor : undefined;
    delete process.env[linkVariable];
    delete process.env[deviceVariable];
    const settings = {
      node: process.execPath,
      nodeArguments: withoutHolderArguments(process.execArgv),
      program: process.argv[1] ?? '',
      ...settingsOf(words),
    };
    if (inherited) return new HolderLink(settings, held, new Socket({ fd: linkDescriptor }));
    const device = openFuseDevice();
    return new HolderLink(settings, device, spawnHolder(settings, process.pid, device));
  }

  private constructor(settings: ServerSettings, device: number | undefined, socket: Socket) {
    this.device = device;
    this.#settings = settings;
    this.#socket = socket;
    this.#listen();
  }

  /** The server serves. */
  ready(): void {
    this.#phase = 'ready';
    this.#send({ news: 'ready' });
  }

  /** Why the server cannot start; then it ends. */
  failed(code: string, message: string): void {
    this.#phase = 'leaving';
    this.#send({ news: 'failed', code, message });
  }

  /**
   * Whether mounts live by the device, which is said before the first is made: the holder ends with
   * the server otherwise, and a device that nobody has open is dead.
   */
  needDevice(needed: boolean): void {
    this.#needsDevice = needed;
    this.#send({ news: 'mounts', needDevice: needed });
  }

  /**
   * Says that the server ends in order, which is what the holder has asked for or another signal.
   * @param renew the device's connection is dead: start again with another one
   */
  async leave(renew = false): Promise<void> {
    this.#phase = 'leaving';
    const line = `${JSON.stringify({ news: 'ending', renew } satisfies ServerNews)}\n`;
    await new Promise<void>((resolve) => {
      this.#socket.write(line, () => resolve());
    });
  }

  /** @param accept begins to end the server; throws ThinError `busy` if it will not */
  onStop(accept: (order: ServerStop) => Promise<void>): void {
    this.#onStop = accept;
    if (this.#order) void this.#stop(this.#order);
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on('error', () => {}); // a close follows
    socket.once('close', () => void this.#lost());
    onJsonLine(socket, ({ order, force, unmount, again }) => {
      if (order !== 'stop') return;
      this.#order = { force: force === true, unmount: unmount === true, again: again === true };
      void this.#stop(this.#order);
    });
  }

  async #stop(order: ServerStop): Promise<void> {
    try {
      await this.#onStop?.(order);
    } catch (error) {
      const code = isThinError(error) ? error.code : 'unavailable';
      this.#send({ news: 'refused', code, message: describeError(error) });
    }
  }

  #isLeaving(): boolean {
    return this.#phase === 'leaving';
  }

  #send(news: ServerNews): void {
    this.#socket.write(`${JSON.stringify(news)}\n`);
  }

  /** The holder has died: its successor has the same device. */
  async #lost(): Promise<void> {
    if (this.#isLeaving()) return;
    if (performance.now() - this.#lastDeath > successorSettledMs) this.#successors = 0;
    this.#lastDeath = performance.now();
    if (this.#successors === successorsMax) {
      const needDevice = this.#needsDevice;
      holderLog('error', 'no holder can be had now: mounts are lost if the server ends', {
        needDevice,
      });
      await delay(successorSettledMs, undefined, { ref: false });
      this.#successors = 0;
    }
    if (this.#successors++ > 0) await delay(successorPauseMs, undefined, { ref: false });
    if (this.#isLeaving()) return;
    holderLog('warn', 'the holder has died; starting another', { pid: process.pid });
    this.#socket = spawnHolder(this.#settings, process.pid, this.device);
    this.#listen();
    this.#send({ news: 'mounts', needDevice: this.#needsDevice });
    if (this.#phase === 'ready') this.#send({ news: 'ready' });
  }
}
