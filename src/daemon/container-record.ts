import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fromSystemError } from '../errors.js';
import { rootRecord } from './root.js';

const containerRecord = z.object({
  version: z.literal(1),
  id: z.string(),
  reference: z.string(),
  manifest: z.string(),
  readOnly: z.boolean(),
  /** Forget the writable layer when it has ended. */
  remove: z.boolean(),
  root: rootRecord,
  /** Of what it was made for. */
  requestId: z.string().optional(),
  /** Absolute path of the program that runs it. */
  runtime: z.string(),
  /** Milliseconds since 1970. */
  since: z.number(),
  /** Absent while it runs. */
  exitCode: z.number().int().optional(),
});
/** `container.json`: what a daemon knows of a container that an earlier one has made. */
export type ContainerRecord = z.infer<typeof containerRecord>;

const recordName = 'container.json';

/** @param folder of the container @returns undefined for one that was being made */
export async function readContainer(folder: string): Promise<ContainerRecord | undefined> {
  try {
    const text = await readFile(join(folder, recordName), 'utf8');
    return containerRecord.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** @throws ThinError `no-space`, `denied` */
export async function writeContainer(folder: string, record: ContainerRecord): Promise<void> {
  const path = join(folder, recordName);
  try {
    await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
    await rename(`${path}.new`, path);
  } catch (error) {
    throw fromSystemError(`Cannot keep container ${record.id}`, error);
  }
}
