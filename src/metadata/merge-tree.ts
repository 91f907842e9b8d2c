import { type ByteString, byteString, byteStringToBuffer } from '../byte-string.js';
import type { Attributes, DirectoryNode, TreeNode } from '../image/tree.js';
import { limits } from '../limits.js';
import { unmergeable } from './merge-error.js';
import { newDirectory } from './merge-node.js';
import { MergedFiles } from './merged-file.js';

/** A directory of the tree, and how deep it is (the root: 0). */
export interface Place {
  readonly directory: DirectoryNode;
  readonly depth: number;
}

interface Step {
  readonly name: ByteString;
  /** `undefined`: not there yet. */
  readonly directory: DirectoryNode | undefined;
}

/** Symlinks that one path may lead through, as in containerd (Linux itself follows 40). */
const linksFollowedMax = 255;
/** Bounds of one merge. */
export interface MergeBounds {
  /** Entries of all layers, and parents made for them. */
  readonly entriesMax: number;
  /** Components walked because of symlinks: chains of long targets would take hours. */
  readonly linkStepsMax: number;
}

/** A hundred million steps take about ten seconds; honest images need a few for a directory. */
export const mergeBounds: MergeBounds = {
  entriesMax: limits.entriesMax,
  linkStepsMax: 100_000_000,
};

/** Directories whose path is remembered; entries of a directory mostly come together. */
const placesKnownMax = 1024;

/** Of the root, and of parents that no layer has an entry for (L23); time 0, to be reproducible. */
const defaultAttributes: Attributes = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtime: { seconds: 0, nanoseconds: 0 },
  xattrs: new Map(),
};

/** The tree that layers are merged into. Paths are resolved inside it, whatever symlinks say. */
export class MergeTree {
  readonly root: DirectoryNode = newDirectory(defaultAttributes);
  /** Nodes that were given a further name; all others have one. */
  readonly linked = new Set<TreeNode>();
  readonly files = new MergedFiles();
  readonly #known = new Map<ByteString, Place>();
  readonly #bounds: MergeBounds;
  #entries = 0;
  #linkSteps = 0;

  constructor(bounds: MergeBounds) {
    this.#bounds = bounds;
  }

  /** The directory at `path`, symlinks followed; `undefined` if there is none. */
  find(path: ByteString): Place | undefined {
    return this.#remembered(path, () => this.#placeAt(this.#walkLinks(path), false));
  }

  /** The same, as if symlinks whose path is `isHidden` were not there. */
  findVisible(path: ByteString, isHidden: (path: ByteString) => boolean): Place | undefined {
    const place = this.#walkDirectories(path);
    return place ?? this.#placeAt(this.#walkLinks(path, isHidden), false);
  }

  /**
   * The directory at `path`, symlinks followed, made with its parents where it is missing.
   * @throws ThinError `corrupt` if something on the way is no directory (as in containerd; umoci
   *   0.5 and newer replace it)
   */
  make(path: ByteString): Place {
    const place = this.#remembered(path, () => this.#placeAt(this.#walkLinks(path), true));
    if (place === undefined) throw unmergeable(path, 'is to hold others but is no directory');
    return place;
  }

  /** Replaces what is there, whatever it is. */
  put(place: Place, name: ByteString, node: TreeNode): void {
    if (!isName(name)) throw unmergeable(name, 'has no name of its own');
    if (place.depth >= limits.pathDepthMax) {
      throw unmergeable(name, `is too deep in the tree (wanted at most ${limits.pathDepthMax})`);
    }
    this.count(name);
    const former = place.directory.children.get(name);
    if (former?.type === 'directory' || former?.type === 'symlink') this.forgetPlaces();
    place.directory.children.set(detached(name), node);
  }

  /** To be called for what is taken out of a directory, or changes what a path leads to. */
  forgetPlaces(): void {
    this.#known.clear();
  }

  /** Counts what layers put into the tree, also what later layers replace: it all takes time. */
  count(path: ByteString): void {
    this.#entries += 1;
    if (this.#entries > this.#bounds.entriesMax) {
      throw unmergeable(path, `is one too many (wanted at most ${this.#bounds.entriesMax})`);
    }
  }

  #remembered(path: ByteString, walk: () => Place | undefined): Place | undefined {
    const known = this.#known.get(path);
    if (known !== undefined) return known;
    const place = this.#walkDirectories(path) ?? walk();
    if (place === undefined) return undefined;
    if (this.#known.size >= placesKnownMax) this.#known.clear();
    this.#known.set(path, place);
    return place;
  }

  /** The usual case: every component is a directory that is there. */
  #walkDirectories(path: ByteString): Place | undefined {
    let directory = this.root;
    let depth = 0;
    for (let start = 0; start < path.length; depth += 1) {
      const slash = path.indexOf('/', start);
      const end = slash < 0 ? path.length : slash;
      const child = directory.children.get(path.slice(start, end) as ByteString);
      if (child?.type !== 'directory') return undefined;
      directory = child;
      start = end + 1;
    }
    return { directory, depth };
  }

  /**
   * As the kernel would in a root of its own: `..` of the root is the root.
   * @returns `undefined` if something on the way is no directory
   */
  #walkLinks(
    path: ByteString,
    isHidden?: (path: ByteString) => boolean,
  ): readonly Step[] | undefined {
    const remaining = path.split('/').reverse();
    const steps: Step[] = [];
    let links = 0;
    for (let name = remaining.pop(); name !== undefined; name = remaining.pop()) {
      if (links > 0) this.#countLinkStep(path);
      if (name === '' || name === '.') continue;
      if (name === '..') {
        steps.pop();
        continue;
      }
      const parent = steps.length === 0 ? this.root : steps.at(-1)?.directory;
      const child = parent?.children.get(name as ByteString);
      if (child?.type === 'symlink') {
        if (isHidden?.(pathOf(steps, name)) === true) return undefined;
        links += 1;
        if (links > linksFollowedMax) throw unmergeable(path, 'leads through too many symlinks');
        if (child.target.startsWith('/')) steps.length = 0;
        for (const component of child.target.split('/').reverse()) remaining.push(component);
      } else if (child === undefined || child.type === 'directory') {
        steps.push({ name: name as ByteString, directory: child });
      } else {
        return undefined;
      }
    }
    return steps;
  }

  #placeAt(steps: readonly Step[] | undefined, create: boolean): Place | undefined {
    let place: Place = { directory: this.root, depth: 0 };
    if (steps === undefined) return undefined;
    for (const { name, directory } of steps) {
      if (directory === undefined && !create) return undefined;
      const next = directory ?? newDirectory(defaultAttributes);
      if (directory === undefined) this.put(place, name, next);
      place = { directory: next, depth: place.depth + 1 };
    }
    return place;
  }

  #countLinkStep(path: ByteString): void {
    this.#linkSteps += 1;
    if (this.#linkSteps > this.#bounds.linkStepsMax) {
      throw unmergeable(path, 'leads through too many symlinks, like many before it');
    }
  }
}

function pathOf(steps: readonly Step[], name: string): ByteString {
  return [...steps.map((step) => step.name), name].join('/') as ByteString;
}

/** Where `path` is and what it is called there; both are empty for the root. */
export function splitPath(path: ByteString): { parent: ByteString; name: ByteString } {
  const slash = path.lastIndexOf('/');
  return {
    parent: path.slice(0, Math.max(slash, 0)) as ByteString,
    name: path.slice(slash + 1) as ByteString,
  };
}

/** Characters from which on V8 makes a slice that keeps the whole string that it is of in memory. */
const slicedMin = 13;

const scratch = Buffer.allocUnsafeSlow(4096);

/** The name without its path, which is as long again as the rest of the node. */
function detached(name: ByteString): ByteString {
  if (name.length < slicedMin) return name;
  if (name.length > scratch.length) return byteString(byteStringToBuffer(name));
  scratch.write(name, 0, name.length, 'latin1');
  return scratch.toString('latin1', 0, name.length) as ByteString;
}

function isName(name: ByteString): boolean {
  return name !== '' && name !== '.' && name !== '..';
}
