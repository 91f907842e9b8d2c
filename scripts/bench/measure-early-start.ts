import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { nodeConfig } from '../../src/config.js';
import { startModes } from '../../src/daemon/start-mode.js';
import { pushToRegistry } from '../../test/support/images.js';
import { runCommand } from '../../test/support/run-command.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import { until } from '../until.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { type Measurement, timed } from './measurement.js';
import { RateLink } from './rate-link.js';
import { startPrograms } from './start-programs.js';
import { builtProgram } from './thin-node.js';

const statusSchema = z.object({ cache: z.object({ files: z.number() }) });

/**
 * `thin run` to its end, of an image without a thin form, where its layers are known and its files are
 * gone: a program that reads little of the image, and one that reads of most layers.
 */
export function startsWhileFilesCome(link: number): Measurement {
  const image = 'python';
  const programs = { true: ['true'], imports: startPrograms.python.words };
  return {
    name: `start while files come, ${link} Mbit/s (${image})`,
    open: async (scratch, owned) => {
      const rate = owned.use(await RateLink.open(link));
      const registry = owned.use(await LoopbackRegistry.open(scratch, 0, '0.0.0.0'));
      await pushToRegistry(await readImage(await ensureImage(image)), `${registry.host}/image:1`);
      const reference = `${rate.address}:${registry.port}/image:1`;
      const root = join(scratch, 'node');
      const thin = (...args: string[]) => {
        const program = [process.execPath, builtProgram('src/cli/thin.js'), ...args];
        const [command = '', ...rest] = rate.behind(program);
        return runCommand(command, rest, { env: { THINFS_ROOT: root, THINFS_FREE_SPACE: '0' } });
      };
      owned.use({
        [Symbol.asyncDispose]: async () => {
          await thin('daemon', 'cleanup', '--force', '--purge');
          const { runFolder } = nodeConfig({ root }, process.env, process.getuid?.() ?? 0);
          await rm(runFolder, { recursive: true, force: true });
        },
      });
      await thin('pull', '--quiet', '--plain-http', reference);
      const emptied = async () => {
        await until('files are let go of', async () => {
          await thin('gc', '--all');
          const { stdout } = await thin('status', '--json');
          return statusSchema.parse(JSON.parse(stdout)).cache.files === 0;
        });
      };
      const start = async (mode: string, words: readonly string[]) => {
        await emptied();
        const flags = ['--rm', '-q', '--plain-http', '--start', mode];
        return timed(() => thin('run', ...flags, reference, ...words));
      };
      return {
        unit: 'ms',
        contenders: Object.entries(programs).flatMap(([name, words]) =>
          [...startModes]
            .reverse()
            .map((mode) => ({ name: `${name}, ${mode}`, run: () => start(mode, words) })),
        ),
      };
    },
  };
}
