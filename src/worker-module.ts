import { Worker } from 'node:worker_threads';

/**
 * Starts a worker thread from a module beside the caller's, compiled or not. From TypeScript source
 * (tests, development) the loader is registered first: threads do not inherit it on Node 20.
 * @param name file name without its extension
 * @param base `import.meta.url` of the caller
 */
export function startWorker(name: string, base: string, workerData: unknown): Worker {
  if (!base.endsWith('.ts')) return new Worker(new URL(`./${name}.js`, base), { workerData });
  const module = JSON.stringify(new URL(`./${name}.ts`, base).href);
  const start = `import('tsx/esm/api').then(({ register }) => { register(); return import(${module}); })`;
  return new Worker(start, { eval: true, execArgv: [], workerData });
}
