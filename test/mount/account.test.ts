import t from 'tap';
import { isThinError } from '../../src/errors.js';
import { findAccount } from '../../src/mount/account.js';
import fc from '../support/properties.js';

const passwd = `root:x:0:0:root:/root:/bin/sh
web:x:33:33:www:/var/www:/usr/sbin/nologin
1000:x:55:56:a name of digits:/digits:/bin/sh
broken line
nobody:x:65534:65534:nobody::/bin/false
huge:x:99999999999:1:x:/:/bin/sh
`;
const group = `root:x:0:
www-data:x:33:web
tape:x:26:web,other
audio:x:29:other,web
audio2:x:29:web
`;

const files: Readonly<Record<string, string>> = { '/etc/passwd': passwd, '/etc/group': group };

function find(user: string, have = files) {
  return findAccount(user, async (path) => {
    const text = have[path];
    return text === undefined ? undefined : Buffer.from(text);
  });
}

t.test('users and groups by the rules of docker', async (t) => {
  const root = { uid: 0, gid: 0, additionalGids: [0], home: '/root' };
  t.strictSame(await find(''), root);
  t.strictSame(await find('0'), root);
  const web = { uid: 33, gid: 33, additionalGids: [33, 26, 29], home: '/var/www' };
  t.strictSame(await find('web'), web);
  t.strictSame(await find('33'), web, 'a listed number has the name’s groups');
  t.strictSame(await find('web:tape'), { ...web, gid: 26, additionalGids: [26] });
  t.strictSame(await find('web:77'), { ...web, gid: 77, additionalGids: [77] });
  t.strictSame(await find('web:'), web);
  t.strictSame(await find(':tape'), { ...root, gid: 26, additionalGids: [26] });
  t.strictSame(await find('4321'), { uid: 4321, gid: 0, additionalGids: [0], home: '/' });
  t.strictSame(await find('4321:tape'), { uid: 4321, gid: 26, additionalGids: [26], home: '/' });
  t.equal((await find('1000')).uid, 55, 'a name of digits is a name');
  t.equal((await find('nobody')).home, '/', 'no home is the root');
  t.strictSame(await find('5:6', {}), { uid: 5, gid: 6, additionalGids: [6], home: '/' });
});

t.test('what is refused', async (t) => {
  await t.rejects(find('ghost'), { code: 'invalid', message: /user "ghost".*\/etc\/passwd/ });
  await t.rejects(find('web:ghosts'), { code: 'invalid', message: /group "ghosts".*\/etc\/group/ });
  await t.rejects(find('huge'), { code: 'invalid' }, 'a line with an id out of range is none');
  await t.rejects(find('2147483648'), { code: 'invalid', message: /at most 2147483647/ });
  await t.rejects(find('1:4294967295'), { code: 'invalid' });
  await t.rejects(find('web', {}), { code: 'invalid' });
});

t.test('any text and any files give an account or a clean refusal', async () => {
  const lines = fc.array(fc.array(fc.string({ maxLength: 8 }), { maxLength: 8 }));
  const text = lines.map((all) => all.map((fields) => fields.join(':')).join('\n'));
  await fc.assert(
    fc.asyncProperty(fc.string({ maxLength: 20 }), text, text, async (user, users, groups) => {
      try {
        const { uid, gid } = await find(user, { '/etc/passwd': users, '/etc/group': groups });
        if (!(uid >= 0 && uid < 2 ** 31 && gid >= 0 && gid < 2 ** 31)) throw new Error(`${uid}`);
      } catch (error) {
        if (!isThinError(error, 'invalid')) throw error;
      }
    }),
    { numRuns: 500 },
  );
});
