import { existsSync } from 'node:fs';
import { seccompProfile } from './seccomp.js';
import type { Volume } from './volume.js';

/** What is not the image's but the host's part of a container. */
export interface Isolation {
  /** Name of the cgroup, unique on this machine. */
  readonly cgroup: string;
  readonly rootfs: string;
  readonly hostname: string;
  readonly network: 'host' | 'none';
  readonly readOnly: boolean;
  /** Bytes. */
  readonly memory?: number | undefined;
  /** Those of the user, and our own for /etc. */
  readonly volumes: readonly Volume[];
}

/** Docker's: what of the kernel's own files a container must not see, and must not write. */
const maskedPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

const sealed = ['nosuid', 'noexec', 'nodev'];

/**
 * The runtime configuration (config.json) around a process.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.0.2/config.md
 */
export function runtimeConfig(process: object, isolation: Isolation) {
  const { cgroup, memory } = isolation;
  return {
    ociVersion: '1.0.2',
    process,
    root: { path: isolation.rootfs, readonly: isolation.readOnly },
    hostname: isolation.hostname,
    mounts: [...kernelMounts, ...isolation.volumes.map(bindMount)],
    linux: {
      cgroupsPath: `/${cgroup}`,
      namespaces: namespacesOf(isolation.network),
      resources: {
        // The runtime then allows null, zero, random, terminals and mknod(2), as docker does.
        devices: [{ allow: false, access: 'rwm' }],
        ...(memory !== undefined && { memory: { limit: memory } }),
      },
      ...(hasSeccomp() && { seccomp: seccompProfile }),
      maskedPaths,
      readonlyPaths,
    },
  };
}

const kernelMounts = [
  mount('/proc', 'proc', 'proc', sealed),
  mount('/dev', 'tmpfs', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
  mount('/dev/pts', 'devpts', 'devpts', [
    'nosuid',
    'noexec',
    'newinstance',
    'ptmxmode=0666',
    'mode=0620',
    'gid=5',
  ]),
  mount('/sys', 'sysfs', 'sysfs', [...sealed, 'ro']),
  mount('/sys/fs/cgroup', 'cgroup', 'cgroup', [...sealed, 'relatime', 'ro']),
  mount('/dev/mqueue', 'mqueue', 'mqueue', sealed),
  mount('/dev/shm', 'tmpfs', 'shm', [...sealed, 'mode=1777', 'size=65536k']),
];

function mount(destination: string, type: string, source: string, options: string[]) {
  return { destination, type, source, options };
}

function bindMount({ hostPath, containerPath, readOnly }: Volume) {
  return mount(containerPath, 'bind', hostPath, ['rbind', 'rprivate', readOnly ? 'ro' : 'rw']);
}

function namespacesOf(network: 'host' | 'none') {
  const types = ['pid', 'ipc', 'uts', 'mount'];
  if (network === 'none') types.push('network'); // the runtime brings up the loopback in it
  if (existsSync('/sys/fs/cgroup/cgroup.controllers')) types.push('cgroup'); // version 2
  return types.map((type) => ({ type }));
}

function hasSeccomp(): boolean {
  return existsSync('/proc/sys/kernel/seccomp');
}
