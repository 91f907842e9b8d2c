import { closeSync } from 'node:fs';

/** Open descriptors by name, at most so many: the one that was used longest ago is closed. */
export class DescriptorCache<Name> {
  readonly #max: number;
  /** In order of use. */
  readonly #open = new Map<Name, number>();

  constructor(max: number) {
    this.#max = max;
  }

  get(name: Name): number | undefined {
    const descriptor = this.#open.get(name);
    if (descriptor === undefined) return undefined;
    this.#open.delete(name);
    this.#open.set(name, descriptor);
    return descriptor;
  }

  /** Takes over the descriptor. */
  set(name: Name, descriptor: number): void {
    this.delete(name);
    this.#open.set(name, descriptor);
    const [oldest] = this.#open.keys();
    if (this.#open.size > this.#max && oldest !== undefined) this.delete(oldest);
  }

  delete(name: Name): void {
    const descriptor = this.#open.get(name);
    if (descriptor === undefined) return;
    this.#open.delete(name);
    closeSync(descriptor);
  }

  clear(): void {
    for (const name of [...this.#open.keys()]) this.delete(name);
  }
}
