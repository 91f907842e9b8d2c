import type { PartialView } from '../cache/partial-view.js';
import type { ObjectThread } from './object-threads.js';
import { partialViewsMax } from './partial-reads.js';

/**
 * Which partial files each thread was told of. A thread is told when it has to ask for a read: what
 * no thread reads costs none of them anything.
 */
export class ToldViews {
  /** By node, in the order of telling: a thread forgets in the same order. */
  readonly #told = new Map<ObjectThread, Map<number, PartialView>>();

  tell(thread: ObjectThread, node: number, view: PartialView): void {
    const told = this.#told.get(thread) ?? new Map<number, PartialView>();
    this.#told.set(thread, told);
    if (told.get(node) === view) return;
    told.delete(node);
    told.set(node, view);
    const [oldest] = told.keys();
    if (told.size > partialViewsMax && oldest !== undefined) told.delete(oldest);
    thread.post({ type: 'partial', node, view });
  }

  /** Has the threads close the file. */
  end(view: PartialView): void {
    for (const [thread, told] of this.#told) {
      for (const [node, its] of told) {
        if (its !== view) continue;
        told.delete(node);
        thread.post({ type: 'partial-ended', node });
      }
    }
  }
}
