import { arch, endianness } from 'node:os';
import { ThinError } from '../errors.js';
import type { Descriptor, Platform } from './descriptor.js';
import { indexMediaTypes, manifestMediaTypes } from './media-type.js';

/**
 * Reads `os/architecture[/variant]`, or an architecture alone for Linux, in docker's words or the
 * kernel's (`x86_64`, `aarch64`).
 * @throws ThinError `invalid` if it has another form.
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  const wellFormed =
    parts.length <= 3 && parts.every((part) => /^[A-Za-z0-9_.-]{1,64}$/.test(part));
  const [os, architecture, variant] = parts.length === 1 ? ['linux', ...parts] : parts;
  if (!wellFormed || os === undefined || architecture === undefined) {
    const shown = JSON.stringify(text.slice(0, 100));
    throw new ThinError(
      'invalid',
      `Cannot use platform ${shown}: wanted os/architecture or os/architecture/variant, as linux/arm64`,
    );
  }
  return normalisePlatform({ os, architecture, ...(variant !== undefined && { variant }) });
}

export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return variant ? `${os}/${architecture}/${variant}` : `${os}/${architecture}`;
}

/** The platform of this machine. */
export function hostPlatform(): Platform {
  const machine = arch();
  const variables: object = process.config.variables;
  const armVersion = 'arm_version' in variables ? `v${String(variables.arm_version)}` : 'v7';
  return normalisePlatform({
    os: 'linux',
    architecture: machine === 'ppc64' && endianness() === 'LE' ? 'ppc64le' : machine,
    ...(machine === 'arm' && { variant: armVersion }),
  });
}

/** Other people's words for an architecture, and the variant that some of them imply. */
const synonyms: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  x64: ['amd64'],
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  aarch64: ['arm64'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
  i386: ['386'],
  ia32: ['386'],
  loongarch64: ['loong64'],
};

/** Variants that are what the architecture means anyway. */
const impliedVariants: Readonly<Record<string, string>> = { amd64: 'v1', arm64: 'v8', arm: 'v7' };

/** One spelling for each platform: `arm64/v8` is `arm64`, `arm` is `arm/v7`, `aarch64` is `arm64`. */
function normalisePlatform(platform: Platform): Platform {
  const word = platform.architecture.toLowerCase();
  const [architecture, implied] = Object.hasOwn(synonyms, word)
    ? (synonyms[word] ?? [word])
    : [word];
  const stated = platform.variant?.toLowerCase().replace(/^(?=[0-9])/, 'v');
  const variant = stated || implied || (architecture === 'arm' ? 'v7' : undefined);
  const said = architecture !== 'arm' && variant === impliedVariants[architecture];
  const { variant: _, ...rest } = platform;
  return {
    ...rest,
    os: platform.os.toLowerCase(),
    architecture,
    ...(variant !== undefined && !said && { variant }),
  };
}

/**
 * The manifest, of those of an index, that runs on `wanted`: its own platform first, then what it can
 * run besides, best first (lower variants; 32-bit programs on 64-bit machines), as containerd chooses.
 * Artifacts that lie in the index beside images are not considered.
 * @throws ThinError `not-found` that names the platforms there are.
 * @see https://github.com/containerd/platforms/blob/main/compare.go
 */
export function selectPlatform(manifests: readonly Descriptor[], wanted: Platform): Descriptor {
  const images = manifests.filter(isImage);
  for (const candidate of runnableBy(normalisePlatform(wanted))) {
    const found = images.find(({ platform }) => platform && matches(platform, candidate));
    if (found) return found;
  }
  const [only, ...others] = images;
  if (only && others.length === 0 && !only.platform) return only;
  const known = images.map(({ platform }) => (platform ? formatPlatform(platform) : 'unstated'));
  const shown = [...new Set(known)].slice(0, 20).join(', ').slice(0, 500);
  throw new ThinError(
    'not-found',
    `Cannot use image on ${formatPlatform(wanted)}: it has only ${shown || 'no platform at all'}`,
  );
}

function isImage({ mediaType, artifactType }: Descriptor): boolean {
  if (artifactType !== undefined) return false;
  return manifestMediaTypes.includes(mediaType) || indexMediaTypes.includes(mediaType);
}

function matches(stated: Platform, candidate: Platform): boolean {
  const { os, architecture, variant } = normalisePlatform(stated);
  return (
    os === candidate.os && architecture === candidate.architecture && variant === candidate.variant
  );
}

/** What a machine runs, best first. */
function runnableBy(platform: Platform): Platform[] {
  const own = [platform, ...lowerVariants(platform)];
  const { os, architecture } = platform;
  if (architecture === 'amd64') return [...own, { os, architecture: '386' }];
  if (architecture === 'arm64') {
    const arm = { os, architecture: 'arm', variant: 'v8' };
    return [...own, arm, ...lowerVariants(arm)];
  }
  return own;
}

/** Lowest variant of those architectures whose variants include the lower ones. */
const lowestVariants: Readonly<Record<string, number>> = { amd64: 1, arm: 5, arm64: 8 };

function lowerVariants(platform: Platform): Platform[] {
  const lowest = lowestVariants[platform.architecture];
  const number = Number(/^v([0-9]{1,2})$/.exec(platform.variant ?? '')?.[1] ?? 0);
  if (lowest === undefined) return [];
  const count = Math.max(number - lowest, 0);
  return Array.from({ length: count }, (_, step) =>
    normalisePlatform({ ...platform, variant: `v${number - 1 - step}` }),
  );
}
