import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import type { Descriptor } from '../../src/image/descriptor.js';
import { mediaTypes } from '../../src/image/media-type.js';
import {
  formatPlatform,
  hostPlatform,
  parsePlatform,
  selectPlatform,
} from '../../src/image/platform.js';
import fc from '../support/properties.js';

function entry(text: string, more: Partial<Descriptor> = {}): Descriptor {
  const [os = '', architecture = '', variant] = text.split('/');
  const platform = { os, architecture, ...(variant && { variant }) };
  return {
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(Buffer.from(text)),
    size: 1,
    platform,
    ...more,
  };
}

t.test('platforms have one spelling', async (t) => {
  const spellings: Readonly<Record<string, string>> = {
    'linux/amd64': 'linux/amd64',
    'linux/amd64/v1': 'linux/amd64',
    'linux/amd64/v3': 'linux/amd64/v3',
    x86_64: 'linux/amd64',
    aarch64: 'linux/arm64',
    'linux/arm64/v8': 'linux/arm64',
    'linux/arm64/8': 'linux/arm64',
    arm: 'linux/arm/v7',
    armel: 'linux/arm/v6',
    'linux/arm/6': 'linux/arm/v6',
    'Linux/RISCV64': 'linux/riscv64',
    'windows/amd64': 'windows/amd64',
    constructor: 'linux/constructor',
  };
  for (const [text, wanted] of Object.entries(spellings)) {
    t.equal(formatPlatform(parsePlatform(text)), wanted, text);
  }
  for (const text of ['', '/', 'linux/', 'a/b/c/d', 'linux/amd 64', 'a\n']) {
    t.throws(() => parsePlatform(text), { code: 'invalid' });
  }
  t.match(formatPlatform(hostPlatform()), /^linux\/[a-z0-9]+/);
});

t.test('the best that runs is selected', async (t) => {
  const cases: [wanted: string, there: string[], selected: string][] = [
    ['linux/amd64', ['linux/arm64', 'linux/amd64'], 'linux/amd64'],
    ['linux/amd64', ['linux/386', 'linux/amd64/v1'], 'linux/amd64/v1'],
    ['linux/amd64', ['linux/386'], 'linux/386'],
    ['linux/amd64/v3', ['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'], 'linux/amd64/v2'],
    ['linux/amd64/v3', ['linux/amd64'], 'linux/amd64'],
    ['linux/arm64', ['linux/arm/v7', 'linux/arm64/v8'], 'linux/arm64/v8'],
    ['linux/arm64', ['linux/arm/v6', 'linux/arm/v7'], 'linux/arm/v7'],
    ['linux/arm/v7', ['linux/arm/v5', 'linux/arm/v6', 'linux/arm64'], 'linux/arm/v6'],
    ['linux/arm', ['linux/arm/v6', 'linux/arm/v7'], 'linux/arm/v7'],
    ['linux/s390x', ['linux/s390x'], 'linux/s390x'],
  ];
  for (const [wanted, there, selected] of cases) {
    const found = selectPlatform(
      there.map((text) => entry(text)),
      parsePlatform(wanted),
    );
    t.equal(found.digest, entry(selected).digest, `${wanted} of ${there.join(' ')}`);
  }
});

t.test('what does not run is not selected', async (t) => {
  const cases: [wanted: string, there: Descriptor[]][] = [
    ['linux/amd64', [entry('linux/amd64/v2')]],
    ['linux/arm/v6', [entry('linux/arm/v7')]],
    ['linux/386', [entry('linux/amd64')]],
    ['linux/amd64', [entry('windows/amd64')]],
    ['linux/amd64', [entry('linux/amd64', { artifactType: 'application/vnd.thinfs.image.v1' })]],
    ['linux/amd64', [entry('linux/amd64', { mediaType: 'application/x-other' })]],
    ['linux/amd64', [entry('unknown/unknown')]],
    ['linux/amd64', []],
  ];
  for (const [wanted, there] of cases) {
    t.throws(() => selectPlatform(there, parsePlatform(wanted)), { code: 'not-found' });
  }
  t.throws(
    () => selectPlatform([entry('linux/arm64'), entry('linux/s390x')], parsePlatform('linux/386')),
    {
      message: /on linux\/386: it has only linux\/arm64, linux\/s390x/,
    },
  );
});

t.test('an only image that states no platform is taken', async (t) => {
  const { platform: _, ...silent } = entry('x');
  t.equal(selectPlatform([silent], parsePlatform('linux/amd64')), silent);
  t.throws(() => selectPlatform([silent, silent], parsePlatform('linux/amd64')), {
    code: 'not-found',
  });
});

t.test('any platform text is read or refused, and an image for it is found by it', async () => {
  const word = fc.constantFrom(
    'linux',
    'arm',
    'arm64',
    'amd64',
    'v1',
    'v5',
    'v8',
    '9',
    'x64',
    '',
    'é',
    '..',
    'V7',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(word, { maxLength: 4 }).map((all) => all.join('/')),
  );
  fc.assert(
    fc.property(text, (text) => {
      try {
        const platform = parsePlatform(text);
        const image = { ...entry('x'), platform };
        return selectPlatform([entry('plan9/vax'), image], platform) === image;
      } catch (error) {
        return isThinError(error, 'invalid');
      }
    }),
    { numRuns: 2000 },
  );
});
