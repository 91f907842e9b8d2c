import { type ByteString, displayByteString } from '../byte-string.js';
import { limits } from '../limits.js';
import { malformedLayer } from './malformed-layer.js';

/**
 * The one form of an entry's path: relative to the root, no empty and no `.` components, no trailing
 * slash; the root is the empty string. Absolute names are taken below the root, as containerd and
 * umoci do. A `..` is refused even where it would stay inside: no tool that makes layers writes it.
 * @throws ThinError `corrupt` for `..` and for more than Linux can hold.
 */
export function normalisePath(raw: ByteString): ByteString {
  const path = hasOddComponent.test(raw) ? withoutOddComponents(raw) : raw;
  // No component can be too long, and no path too deep, in a path this short.
  if (path.length > limits.nameBytesMax) checkLimits(path);
  return path;
}

/** An empty, `.` or `..` component, which covers leading, trailing and doubled slashes. */
const hasOddComponent = /(?:^|\/)\.{0,2}(?:\/|$)/;

function withoutOddComponents(raw: ByteString): ByteString {
  const components = raw.split('/').filter((name) => name !== '' && name !== '.');
  if (components.includes('..')) {
    throw malformedLayer(`path "${shown(raw)}" has a ".." component`);
  }
  return components.join('/') as ByteString;
}

function checkLimits(path: ByteString): void {
  if (path.length > limits.pathBytesMax) {
    throw malformedLayer(
      `path "${shown(path)}" has ${path.length} bytes (wanted at most ${limits.pathBytesMax})`,
    );
  }
  const components = path.split('/');
  if (components.length > limits.pathDepthMax) {
    throw malformedLayer(
      `path "${shown(path)}" is ${components.length} deep (wanted at most ${limits.pathDepthMax})`,
    );
  }
  const long = components.find((name) => name.length > limits.nameBytesMax);
  if (long !== undefined) {
    throw malformedLayer(
      `name "${shown(long as ByteString)}" has ${long.length} bytes (wanted at most ${limits.nameBytesMax})`,
    );
  }
}

function shown(path: ByteString): string {
  const short = path.length > 80 ? (`${path.slice(0, 77)}...` as ByteString) : path;
  return displayByteString(short);
}
