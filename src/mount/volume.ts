import { posix } from 'node:path';
import { ThinError } from '../errors.js';

/** A file or directory of the host that a container sees. */
export interface Volume {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly readOnly: boolean;
}

/**
 * Reads `host:container[:ro|rw]`, both absolute paths.
 * @throws ThinError `invalid`
 */
export function parseVolume(text: string): Volume {
  const [hostPath = '', containerPath = '', access = 'rw', ...rest] = text.split(':');
  const absolute = hostPath.startsWith('/') && containerPath.startsWith('/');
  if (!absolute || !(access === 'rw' || access === 'ro') || rest.length > 0) {
    throw new ThinError(
      'invalid',
      `Cannot use volume ${JSON.stringify(text)}: wanted <host path>:<container path>[:ro], with ` +
        'absolute paths without a colon',
    );
  }
  const target = posix.resolve(containerPath);
  if (target === '/') {
    throw new ThinError('invalid', `Cannot use volume ${JSON.stringify(text)}: / is the image's`);
  }
  return { hostPath, containerPath: target, readOnly: access === 'ro' };
}
