import type { Frame } from '../../src/chunk/frame.js';
import { type ErrorCode, ThinError } from '../../src/errors.js';
import type { FrameFetchOptions, FrameSource } from '../../src/store/frame-source.js';

/** What a {@link ScriptedFrames} does with a fetch: gives bytes, fails, or waits to be told. */
export type Answer = Buffer | ErrorCode | 'wait';

interface Call {
  readonly frame: Frame;
  readonly signal: AbortSignal;
  readonly options: FrameFetchOptions;
  /** Of a call that waits. */
  readonly give: (plain: Buffer) => void;
  readonly fail: (code: ErrorCode) => void;
}

/** A source that answers by a script, and remembers what it was asked. */
export class ScriptedFrames implements FrameSource {
  readonly calls: Call[] = [];
  readonly #name: string;
  #answers: readonly Answer[];
  #called = () => {};

  /** @param answers one for each call; the last one for all that follow */
  constructor(name: string, ...answers: Answer[]) {
    this.#name = name;
    this.#answers = answers;
  }

  /** New answers from the next call on. */
  script(...answers: Answer[]): void {
    this.#answers = answers;
  }

  async called(times: number): Promise<void> {
    while (this.calls.length < times) {
      await new Promise<void>((resolve) => {
        this.#called = resolve;
      });
    }
  }

  fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}): Promise<Buffer> {
    const [answer = 'not-found', ...rest] = this.#answers;
    if (rest.length > 0) this.#answers = rest;
    return new Promise((resolve, reject) => {
      const fail = (code: ErrorCode) => reject(new ThinError(code, `${this.#name}: ${code}`));
      signal.addEventListener('abort', () => fail('canceled'), { once: true });
      this.calls.push({ frame, signal, options, give: resolve, fail });
      this.#called();
      if (Buffer.isBuffer(answer)) resolve(answer);
      else if (answer !== 'wait') fail(answer);
    });
  }

  toString(): string {
    return this.#name;
  }
}
