import { readFile, rename, writeFile } from 'node:fs/promises';
import type { z } from 'zod';
import { fromSystemError, isThinError, ThinError } from '../errors.js';

/*
 * What a daemon writes down for the next one, as JSON. It appears whole or not at all: where there is
 * none, what it is to tell of was still being made.
 */

/**
 * @returns undefined if there is none
 * @throws ThinError `corrupt` for one of another version, or that a power cut has torn; else why it
 *   cannot be read: whoever asks must not take that for none
 */
export async function readRecordFile<T>(
  path: string,
  schema: z.ZodType<T>,
): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const error = fromSystemError(`Cannot read ${path}`, cause);
    if (isThinError(error, 'not-found')) return undefined;
    throw error;
  }
  const parsed = schema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new ThinError('corrupt', `Cannot use ${path}: it is no record that this version knows`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * @param options `synced`: a power cut does not tear it from here on. What a power cut ends anyhow, as
 *   all that runs, need not wait for the disk.
 * @throws ThinError `no-space`, `denied`
 */
export async function writeRecordFile(
  path: string,
  record: object,
  { synced }: { readonly synced: boolean },
): Promise<void> {
  try {
    await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600, flush: synced });
    await rename(`${path}.new`, path);
  } catch (error) {
    throw fromSystemError(`Cannot write ${path}`, error);
  }
}
