import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../test/support/run-command.js';
import type { Archive } from './recipes.js';

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** What apt must know to reach its archives from here: proxies, certificates, clocks, retries. */
const accessOption = /^Acquire::(https?|Check-Date|Check-Valid-Until|Retries|ForceIPv4)\b/;

/**
 * The Debian archives that this machine's own apt is configured with, as lines of a sources.list.
 * @throws Error if apt has none of them.
 */
export async function debianSources(archive: Archive): Promise<string> {
  const found = (await indexTargets()) || (await updateLists().then(indexTargets));
  const codename = await releaseCodename();
  const lines = found.split('\n').flatMap((line) => {
    const [name = '', place = ''] = line.split('\t');
    const wanted = archive === 'updates' || name === codename;
    return wanted && place ? [`deb [signed-by=${keyring}] ${place}`] : [];
  });
  if (lines.length === 0) {
    throw new Error(`Cannot build images: apt knows no ${archive} archive of Debian ${codename}`);
  }
  return `${[...new Set(lines)].join('\n')}\n`;
}

/** `deb` suite of the running system, such as `bookworm`. */
export async function releaseCodename(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8');
  const codename = /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(text)?.[1];
  if (!codename) throw new Error('Cannot build images: /etc/os-release has no VERSION_CODENAME');
  return codename;
}

/** apt.conf with which apt reaches the archives in the way that this machine is set up for. */
export async function accessOptions(): Promise<string> {
  const { stdout } = await runCommand('apt-config', ['dump']);
  const lines = stdout.split('\n').filter((line) => accessOption.test(line));
  return `${lines.join('\n')}\n`;
}

/**
 * Installs packages in the tree at `root` with this machine's apt, so that the tree needs neither
 * network settings nor certificates. dpkg and the packages' scripts run inside of the tree.
 * @param work a folder outside of `root`, kept from call to call of one image: package lists.
 */
export async function installPackages(
  root: string,
  work: string,
  archive: Archive,
  packages: readonly string[],
): Promise<void> {
  const config = join(work, 'apt.conf');
  const sources = join(work, 'sources.list');
  for (const folder of ['lists/partial', 'log']) {
    await mkdir(join(work, folder), { recursive: true });
  }
  await writeFile(sources, await debianSources(archive));
  await writeFile(config, `${await accessOptions()}${chrootOptions(root, work, sources)}`);
  const env = { APT_CONFIG: config, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
  await runCommand('apt-get', ['update', '-qq'], { env });
  await runCommand('apt-get', ['install', '-qq', '-y', '--no-install-recommends', ...packages], {
    env,
  });
}

function chrootOptions(root: string, work: string, sources: string): string {
  return `
Dir "${root}";
Dir::Etc::SourceList "${sources}";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "${work}/lists";
Dir::Log "${work}/log";
DPkg::Chroot-Directory "${root}";
DPkg::Use-Pty "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
`;
}

async function indexTargets(): Promise<string> {
  const format = '$(CODENAME)\t$(REPO_URI) $(RELEASE) $(COMPONENT)';
  const filters = ['Created-By: Packages', 'Origin: Debian', 'Component: main'];
  const { stdout } = await runCommand('apt-get', ['indextargets', '--format', format, ...filters]);
  return stdout;
}

/** apt does not know whose its archives are before it has read them once. */
async function updateLists(): Promise<void> {
  await runCommand('apt-get', ['update', '-qq']);
}
