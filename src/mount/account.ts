import { ThinError } from '../errors.js';

/**
 * Reads a regular file of the image, following symlinks inside the image's root.
 * @param bytesMax an image must not make us read without end
 * @returns `undefined` if there is no such file, or it is no regular file
 */
export type ReadImageFile = (path: string, bytesMax: number) => Promise<Buffer | undefined>;

/** As whom a container's command runs. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly home: string;
}

/** Bytes of /etc/passwd or /etc/group: tens of thousands of accounts. */
const accountFileBytesMax = 4 * 1024 * 1024;
/** The largest id that runtimes take. */
const idMax = 2 ** 31 - 1;

interface PasswdLine {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupLine {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/**
 * Finds `user[:group]` of an image config, each a name or a number, in the image's own files, by the
 * rules of docker: no user means root; a number need not be listed; the groups of the user's name in
 * /etc/group are added unless a group was named.
 * @throws ThinError `invalid` for a name that is not listed, or a number out of range
 */
export async function findAccount(user: string, readImageFile: ReadImageFile): Promise<Account> {
  const [userText = '', groupText = ''] = user.split(/:(.*)/s);
  const passwd = parsePasswd(await readImageFile('/etc/passwd', accountFileBytesMax));
  const groups = parseGroup(await readImageFile('/etc/group', accountFileBytesMax));
  const found = findUser(passwd, userText === '' ? '0' : userText);
  const home = found.home || '/';
  const gid = groupText === '' ? found.gid : findGroup(groups, groupText);
  const others = groupText === '' ? groups.filter(hasMember(found.name)) : [];
  // The first one too, or a program could leave it and get around what it is denied by it.
  const additionalGids = [...new Set([gid, ...others.map((group) => group.gid)])];
  return { uid: found.uid, gid, additionalGids, home };
}

function hasMember(name: string): (group: GroupLine) => boolean {
  return ({ members }) => members.includes(name);
}

function findUser(passwd: readonly PasswdLine[], text: string): PasswdLine {
  const id = parseId(text);
  const found = passwd.find(({ name }) => name === text) ?? passwd.find(({ uid }) => uid === id);
  if (found) return found;
  if (id === undefined) throw unknown('user', text, '/etc/passwd');
  return { name: '', uid: checkId('user', id), gid: 0, home: '/' };
}

function findGroup(groups: readonly GroupLine[], text: string): number {
  const id = parseId(text);
  const found = groups.find(({ name }) => name === text);
  if (found) return found.gid;
  if (id === undefined) throw unknown('group', text, '/etc/group');
  return checkId('group', id);
}

function unknown(kind: string, name: string, path: string): ThinError {
  const shown = JSON.stringify(name.slice(0, 64));
  return new ThinError(
    'invalid',
    `Cannot run as ${kind} ${shown}: the image's ${path} does not name it (wanted a name from ` +
      'there, or a number)',
  );
}

function checkId(kind: string, id: number): number {
  if (id <= idMax) return id;
  throw new ThinError('invalid', `Cannot run as ${kind} ${id}: wanted at most ${idMax}`);
}

function parseId(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** `name:password:uid:gid:comment:home:shell`; other lines are skipped. */
function parsePasswd(bytes: Buffer | undefined): PasswdLine[] {
  return linesOf(bytes).flatMap(([name, , uidText = '', gidText = '', , home = '']) => {
    const [uid, gid] = [parseId(uidText), parseId(gidText)];
    if (!name || uid === undefined || gid === undefined || uid > idMax || gid > idMax) return [];
    return [{ name, uid, gid, home }];
  });
}

/** `name:password:gid:member,member`; other lines are skipped. */
function parseGroup(bytes: Buffer | undefined): GroupLine[] {
  return linesOf(bytes).flatMap(([name, , gidText = '', members = '']) => {
    const gid = parseId(gidText);
    if (!name || gid === undefined || gid > idMax) return [];
    return [{ name, gid, members: members.split(',') }];
  });
}

function linesOf(bytes: Buffer | undefined): string[][] {
  if (!bytes) return [];
  return bytes
    .toString('utf8')
    .split('\n')
    .map((line) => line.trim().split(':'));
}
