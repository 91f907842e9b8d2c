import t from 'tap';
import { programOptions } from '../../src/hot/program-options.js';

const python = [
  ['-c', '-m', '-W', '-X'],
  ['-c', '-m'],
] as const;
const shell = [['-o', '--rcfile'], []] as const;

/** The command line, what takes a value and what ends it, the options, and what is left. */
const cases = [
  ['-W ignore -u app.py -c app.conf', python, ['-W=ignore', '-u='], 'app.py -c app.conf'],
  ['-Wignore -m http.server -m 80', python, ['-W=ignore', '-m=http.server'], '-m 80'],
  ['-uc text', python, ['-u=', '-c=text'], ''],
  ['-ctext -c more', python, ['-c=text'], '-c more'],
  ['-euo pipefail -c text name', shell, ['-e=', '-u=', '-o=pipefail', '-c='], 'text name'],
  ['--rcfile file --rcfile=file -- -c', shell, ['--rcfile=file', '--rcfile=file'], '-c'],
  ['- -c', shell, [], '- -c'],
  ['-o', shell, ['-o='], ''],
  ['', shell, [], ''],
] as const;

t.test('options end at the first word that is none', async (t) => {
  for (const [line, [valued, ending], wanted, left] of cases) {
    const words = (text: string) => text.split(' ').filter((word) => word !== '');
    const { options, rest } = programOptions(words(line), valued, ending);
    const told = options.map(([name, value]) => `${name}=${value}`);
    t.strictSame([told, rest], [wanted, words(left)], line);
  }
});
