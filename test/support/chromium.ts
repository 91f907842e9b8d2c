import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { z } from 'zod';
import { cleanUp } from './clean-up.js';

/** Milliseconds for one answer of the browser. */
const answerMs = 60_000;
const flags = [
  '--headless=new',
  '--no-sandbox', // it has none for root
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--no-first-run',
  '--remote-debugging-pipe',
];

const message = z.object({
  id: z.number().optional(),
  method: z.string().optional(),
  params: z.record(z.string(), z.unknown()).optional(),
  result: z.record(z.string(), z.unknown()).optional(),
  error: z.object({ message: z.string() }).optional(),
});
const target = z.object({ targetId: z.string() });
const session = z.object({ sessionId: z.string() });
const evaluated = z.object({
  result: z.object({ value: z.unknown().optional() }),
  exceptionDetails: z.unknown().optional(),
});
const request = z.object({ request: z.object({ url: z.string() }) });
const entry = z.object({ entry: z.object({ text: z.string() }) });

type Params = Readonly<Record<string, unknown>>;

/** One page of Debian's chromium without a screen, spoken to over its DevTools protocol. */
export class Chromium {
  /** Addresses that it has asked for, and what it has complained of. */
  readonly requests: string[] = [];
  readonly complaints: string[] = [];
  readonly #program: ChildProcess;
  readonly #input: Writable;
  readonly #waiting = new Map<number, (answer: z.infer<typeof message>) => void>();
  readonly #events = new Map<string, () => void>();
  #sessionId: string | undefined;
  #last = 0;

  static async open(t: Test): Promise<Chromium> {
    const folder = mkdtempSync(join(tmpdir(), 'thinfs-chromium-'));
    const program = spawn('chromium', [...flags, `--user-data-dir=${folder}`], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
      env: { ...process.env, HOME: folder },
      detached: true, // so that its processes can be ended together
    });
    const chromium = new Chromium(program);
    cleanUp(t, async () => {
      await chromium.#close();
      await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
    });
    const { targetId } = target.parse(
      await chromium.ask('Target.createTarget', { url: 'about:blank' }),
    );
    const attached = await chromium.ask('Target.attachToTarget', { targetId, flatten: true });
    chromium.#sessionId = session.parse(attached).sessionId;
    for (const domain of ['Page', 'Network', 'Log', 'Accessibility']) {
      await chromium.ask(`${domain}.enable`);
    }
    return chromium;
  }

  private constructor(program: ChildProcess) {
    this.#program = program;
    const [, , , input, output] = program.stdio;
    this.#input = input as Writable;
    let rest = '';
    (output as Readable).setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\0');
      rest = parts.pop() ?? '';
      for (const part of parts) this.#heard(message.parse(JSON.parse(part)));
    });
  }

  #heard(heard: z.infer<typeof message>): void {
    if (heard.id !== undefined) {
      this.#waiting.get(heard.id)?.(heard);
      this.#waiting.delete(heard.id);
    } else if (heard.method === 'Network.requestWillBeSent') {
      this.requests.push(request.parse(heard.params).request.url);
    } else if (heard.method === 'Log.entryAdded') {
      this.complaints.push(entry.parse(heard.params).entry.text);
    } else if (heard.method !== undefined) {
      this.#events.get(heard.method)?.();
    }
  }

  /** @throws Error if the browser refuses, or does not answer in time */
  ask(method: string, params: Params = {}): Promise<Params> {
    const id = ++this.#last;
    return this.#inTime(method, (resolve, reject) => {
      this.#waiting.set(id, ({ result = {}, error }) => {
        if (error) reject(new Error(`${method}: ${error.message}`));
        else resolve(result);
      });
      const sessionId = this.#sessionId;
      this.#input.write(
        `${JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) })}\0`,
      );
    });
  }

  /** Goes there, and waits until all of it is loaded. */
  async visit(url: string): Promise<void> {
    const loaded = this.#inTime<void>(url, (resolve) => {
      this.#events.set('Page.loadEventFired', resolve);
    });
    await this.ask('Page.navigate', { url });
    await loaded;
  }

  /** The value of an expression in the page. */
  async value(expression: string): Promise<unknown> {
    const answer = await this.ask('Runtime.evaluate', { expression, returnByValue: true });
    const { result, exceptionDetails } = evaluated.parse(answer);
    if (exceptionDetails !== undefined) throw new Error(`${expression}: it throws`);
    return result.value;
  }

  async press(key: 'Tab' | 'Enter'): Promise<void> {
    const text = key === 'Enter' ? '\r' : undefined;
    const code = key === 'Enter' ? 13 : 9;
    const event = { key, code: key, windowsVirtualKeyCode: code, ...(text && { text }) };
    await this.ask('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
    await this.ask('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
  }

  #inTime<T>(
    what: string,
    work: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what}: no answer`)), answerMs);
      const settled = <V>(settle: (value: V) => void) => {
        return (value: V) => {
          clearTimeout(timer);
          settle(value);
        };
      };
      work(settled(resolve), settled(reject));
    });
  }

  /** Ends it and its helpers, which write into its folder for as long as they live. */
  async #close(): Promise<void> {
    const { pid, exitCode, signalCode } = this.#program;
    if (pid === undefined) return;
    const exited = exitCode === null && signalCode === null && once(this.#program, 'exit');
    killGroup(pid);
    await exited;
    const deadline = Date.now() + answerMs;
    while (killGroup(pid)) {
      if (Date.now() > deadline) throw new Error(`chromium's processes (group ${pid}) do not end`);
      await delay(20);
    }
  }
}

/** False if the group has no process any more. */
function killGroup(pid: number): boolean {
  try {
    return process.kill(-pid, 'SIGKILL');
  } catch {
    return false;
  }
}
