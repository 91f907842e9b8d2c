import { posix } from 'node:path';
import type { Program } from './command-files.js';
import type { ImageFiles } from './image-files.js';

/** Of a server and of what makes its first databases, below its folder of shared files. */
const sharedFiles = [
  ...['postgres.bki', 'system_constraints.sql', 'system_functions.sql', 'system_views.sql'],
  ...['information_schema.sql', 'sql_features.txt', 'snowball_create.sql', 'errcodes.txt'],
  ...['postgresql.conf.sample', 'pg_hba.conf.sample', 'pg_ident.conf.sample'],
  ...['timezonesets/Default', 'extension/plpgsql.control', 'extension/plpgsql--1.0.sql'],
];
/** The procedural language of every database, and the dictionaries of text search. */
const libraries = ['plpgsql.so', 'dict_snowball.so'];

/** What PostgreSQL reads when it makes databases and when it serves them. */
export function postgresFiles(files: ImageFiles, { path }: Program): string[] {
  const root = posix.dirname(posix.dirname(path));
  const version = posix.basename(root);
  const within = (folders: readonly string[], name: string) =>
    folders.find((folder) => files.has(folder, name));
  const shared = within(
    [`${root}/share/postgresql`, `${root}/share`, `/usr/share/postgresql/${version}`],
    'postgres.bki',
  );
  const native = within([`${root}/lib/postgresql`, `${root}/lib`], 'plpgsql.so');
  const words = shared === undefined ? [] : files.names(posix.join(shared, 'tsearch_data'));
  return [
    ...(native === undefined ? [] : libraries.map((name) => posix.join(native, name))),
    ...(shared === undefined ? [] : sharedFiles.map((name) => posix.join(shared, name))),
    ...words
      .filter((name) => name.endsWith('.stop'))
      .map((name) => posix.join(`${shared}`, 'tsearch_data', name)),
  ];
}
