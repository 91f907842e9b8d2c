import { z } from 'zod';

/*
 * What runc and crun write, as JSON. Loaded only when there is something to read: a container that
 * starts and ends well needs none of it, and the schemas take a third of `thin run`'s own start.
 */
const logLineSchema = z.object({ level: z.string(), msg: z.string() });

const stateSchema = z.object({
  status: z.enum(['creating', 'created', 'running', 'paused', 'stopped']),
  /** Of the command, in our PID namespace; 0 when it has ended. */
  pid: z.number().int(),
});

export type ContainerState = z.infer<typeof stateSchema>;

/** The message of the last error in a log. */
export function lastLoggedError(log: string): string | undefined {
  const lines = log.split('\n').flatMap((line) => {
    const parsed = logLineSchema.safeParse(parseJson(line));
    return parsed.success ? [parsed.data] : [];
  });
  return lines.findLast(({ level }) => level === 'error' || level === 'fatal')?.msg;
}

/** @returns `undefined` if the text is no state */
export function parseContainerState(text: string): ContainerState | undefined {
  return stateSchema.safeParse(parseJson(text)).data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
