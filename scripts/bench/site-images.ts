import { join } from 'node:path';
import { pushToRegistry } from '../../test/support/images.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import type { ImageName } from '../images/recipes.js';
import { convert } from './conversion.js';
import type { LoopbackRegistry } from './loopback-registry.js';
import type { StartedProgram } from './pop-site.js';

/** An image that is deployed, and a program of it that ends as soon as it would be ready. */
export interface DeployedImage extends StartedProgram {
  readonly image: ImageName;
}

/** For images whose own entrypoint is another program. */
const shell = ['--entrypoint', 'sh'];

/** In the order of their popularity. */
export const deployedImages: readonly DeployedImage[] = [
  {
    image: 'python',
    words: ['python3', '-c', 'import numpy, sqlalchemy, lxml.etree; print(numpy.arange(9).sum())'],
    wanted: '36\n',
  },
  {
    image: 'nginx',
    flags: shell,
    words: ['-c', 'mkdir -p /var/log/nginx && nginx && cat /usr/share/site/index.html'],
    wanted: '<!doctype html><title>thinfs</title>It works.\n',
  },
  {
    image: 'node',
    words: ['node', '-e', 'console.log(require("acorn").parse("6 * 7").body.length)'],
    wanted: '1\n',
  },
  {
    image: 'postgres',
    words: ['sh', '-c', '$(echo /usr/lib/postgresql/*/bin/postgres) --describe-config | head -c 9'],
    wanted: 'archive_c',
  },
  {
    image: 'base',
    words: ['sh', '-c', 'apt-config dump | grep -c Dir::Cache; perl -MPOSIX -e "print floor(4.2)"'],
    wanted: '4\n4',
  },
  {
    image: 'r',
    words: ['Rscript', '-e', 'cat(round(summary(lm(dist ~ speed, cars))$r.squared, 2))'],
    wanted: '0.65',
  },
  {
    image: 'python-updated',
    words: ['python3', '-c', 'import numpy, yaml; print(yaml.safe_load("{a: 7}"))'],
    wanted: "{'a': 7}\n",
  },
  {
    image: 'science',
    words: ['python3', '-c', 'import scipy.linalg; print(int(scipy.linalg.det([[2, 0], [0, 3]])))'],
    wanted: '6\n',
  },
  {
    image: 'busybox',
    words: ['sh', '-c', 'busybox | grep -c md5sum'],
    wanted: '1\n',
  },
  {
    image: 'large-layers',
    words: ['sh', '-c', 'head -c 9000000 /srv/weights-2 | wc -c'],
    wanted: '9000000\n',
  },
  {
    image: 'base-updated',
    words: ['sh', '-c', 'apt-config dump | grep -c Dir::Cache; perl -MPOSIX -e "print floor(4.2)"'],
    wanted: '4\n4',
  },
  {
    image: 'many-files',
    words: [
      'sh',
      '-c',
      'find /srv/copies/2/webpack -name "*.js" | xargs cat | head -c 900000 | wc -c',
    ],
    wanted: '900000\n',
  },
];

/** Pushes and converts an image, unless the registry has it. */
export async function publishImage(
  name: ImageName,
  registry: LoopbackRegistry,
  folder: string,
): Promise<void> {
  const reference = `${registry.host}/${name}:1`;
  await pushToRegistry(await readImage(await ensureImage(name)), reference);
  await convert({ image: reference, cache: join(folder, 'converter') });
}
