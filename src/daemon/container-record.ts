import { join } from 'node:path';
import { z } from 'zod';
import type { MountSummary } from './control-api.js';
import { readRecordFile, writeRecordFile } from './record-file.js';
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

/** @param folder of the container @returns undefined for one that was being made @throws as readRecordFile */
export async function readContainer(folder: string): Promise<ContainerRecord | undefined> {
  return readRecordFile(join(folder, recordName), containerRecord);
}

/** No power cut tears that of one that has ended: it may have changes that are to stay. @throws ThinError `no-space`, `denied` */
export async function writeContainer(folder: string, record: ContainerRecord): Promise<void> {
  const synced = record.exitCode !== undefined;
  await writeRecordFile(join(folder, recordName), record, { synced });
}

/** As commands are told of it. */
export function containerSummary(record: ContainerRecord): MountSummary {
  const { id, root, reference, manifest, readOnly, since, exitCode } = record;
  const { target, form, server } = root;
  return {
    ...{ id, kind: 'container', target, reference, manifest, readOnly, form, server, since },
    ...(exitCode !== undefined && { exitCode }),
  };
}
