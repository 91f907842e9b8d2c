import { type ResourceLimits, type Transferable, Worker } from 'node:worker_threads';

export interface WorkerModuleOptions {
  /** What of `workerData` moves to the thread. */
  readonly transferList?: Transferable[];
  /** Of the thread's heap. Not from TypeScript source, whose compiler needs more. */
  readonly resourceLimits?: ResourceLimits;
}

/**
 * Starts a worker thread from a module, compiled or not, that may stand beside a bundle of the caller. From TypeScript source
 * (tests, development) the loader is registered first: threads do not inherit it on Node 20.
 * @param name from the caller's folder, without its extension, and by the folder's own name, which is where
 *   it is seen from a bundle too: `../pull/layer-worker`
 * @param base `import.meta.url` of the caller
 */
export function startWorker(
  name: string,
  base: string,
  workerData: unknown,
  { transferList = [], resourceLimits = {} }: WorkerModuleOptions = {},
): Worker {
  if (!base.endsWith('.ts')) {
    const module = new URL(`${name}.js`, base);
    return new Worker(module, { workerData, transferList, resourceLimits });
  }
  const module = JSON.stringify(new URL(`${name}.ts`, base).href);
  const start = `import('tsx/esm/api').then(({ register }) => { register(); return import(${module}); })`;
  return new Worker(start, { eval: true, execArgv: [], workerData, transferList });
}
