import Database from 'better-sqlite3';
import { type ErrorCode, ThinError } from '../errors.js';

/**
 * Converts an error of SQLite; any other stays as it is.
 * @param action `Cannot <verb> <object>`
 */
export function fromSqlite(action: string, error: unknown): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  return new ThinError(codeOf(error.code), `${action}: ${error.message}`, { cause: error });
}

function codeOf(sqliteCode: string): ErrorCode {
  if (sqliteCode.startsWith('SQLITE_FULL')) return 'no-space';
  if (/^SQLITE_(CORRUPT|NOTADB|CONSTRAINT|ERROR)/.test(sqliteCode)) return 'corrupt';
  return 'unavailable';
}
