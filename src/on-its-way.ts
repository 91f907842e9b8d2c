/** What is on its way: a promise, and who brings it keeps or breaks that. (Node 20 has no Promise.withResolvers.) */
export interface OnItsWay<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T | Promise<T>) => void;
  readonly reject: (error: unknown) => void;
}

/** Whoever waits for it is told of a failure; where nobody does it is nobody's. */
export function onItsWay<T>(): OnItsWay<T> {
  let [resolve, reject]: [OnItsWay<T>['resolve'], OnItsWay<T>['reject']] = [() => {}, () => {}];
  const promise = new Promise<T>((done, fail) => {
    resolve = done;
    reject = fail;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}
