import type { Logger } from 'pino';
import { describeError, isThinError } from '../errors.js';
import type { CallContext, ControlHandlers } from './control-server.js';

/** Logs what changes the node, when it is done and when it fails; never a request, which has secrets. */
export function loggedHandlers(handlers: ControlHandlers, log: Logger): ControlHandlers {
  const logged =
    <Request, Context, Result>(
      message: string,
      handler: (request: Request, context: Context) => Promise<Result>,
      fields: (request: Request, result: Result) => object,
    ) =>
    async (request: Request, context: Context): Promise<Result> => {
      const startedAt = performance.now();
      const ms = () => Math.round(performance.now() - startedAt);
      try {
        const result = await handler(request, context);
        log.info({ ...fields(request, result), ms: ms() }, message);
        return result;
      } catch (error) {
        const code = isThinError(error) ? error.code : 'defect';
        log.warn({ code, reason: describeError(error), ms: ms() }, `not ${message}`);
        throw error;
      }
    };
  /** What the command is told on the way is of interest later, too. */
  const noted =
    <Request, Result>(handler: (request: Request, context: CallContext) => Promise<Result>) =>
    (request: Request, context: CallContext): Promise<Result> => {
      const note = (message: string): void => {
        log.info(message);
        context.note(message);
      };
      return handler(request, { ...context, note });
    };
  return {
    ...handlers,
    'image.open': noted(handlers['image.open']),
    mount: logged('mounted', noted(handlers.mount), (_, { id, target, reference, manifest }) => {
      return { id, target, reference, manifest };
    }),
    unmount: logged('unmounted', handlers.unmount, (_, { id, target }) => ({ id, target })),
    'container.create': logged(
      'container created',
      noted(handlers['container.create']),
      ({ reference }, { id }) => ({ id, reference }),
    ),
    'container.end': logged('container ended', handlers['container.end'], ({ id, exitCode }) => {
      return { id, exitCode };
    }),
    'container.remove': logged('container removed', handlers['container.remove'], ({ id }) => ({
      id,
    })),
    gc: logged('garbage collected', handlers.gc, (_, removed) => removed),
    check: logged('cache checked', handlers.check, (_, { files, bytes, wrong }) => {
      return { files, bytes, wrong: wrong.length };
    }),
  };
}
