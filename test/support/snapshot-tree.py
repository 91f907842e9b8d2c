"""Prints what a directory tree holds as one JSON array: snapshot-tree.py FOLDER

Python, because it reads names, link targets and extended attributes as bytes and times in whole
nanoseconds. In the JSON each byte of a name is the character of the same number (ISO 8859-1).
"""

import errno
import hashlib
import json
import os
import stat
import sys

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def text(name):
    return name.decode("latin-1")


def xattrs(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {
            text(os.fsencode(name)): os.getxattr(path, name, follow_symlinks=False).hex()
            for name in names
        }
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return "sha256:" + digest.hexdigest()


def names_in(path):
    """A listing must give the same names each time, each once, or programs skip or repeat files."""
    names = os.listdir(path)
    if len(set(names)) != len(names) or names != os.listdir(path):
        raise SystemExit(f"listing of {path!r} repeats names or differs from its second reading")
    return sorted(names)


def describe(path, groups):
    at = os.lstat(path)
    kind = TYPES[stat.S_IFMT(at.st_mode)]
    entry = {
        "path": text(b"" if path == b"." else path[2:]),
        "type": kind,
        "mode": stat.S_IMODE(at.st_mode),
        "uid": at.st_uid,
        "gid": at.st_gid,
        "mtime": str(at.st_mtime_ns),
        "xattrs": xattrs(path),
    }
    if kind != "directory":
        entry["nlink"] = at.st_nlink
        entry["linkedWith"] = groups.setdefault((at.st_dev, at.st_ino), entry["path"])
    if kind == "file":
        entry["size"] = at.st_size
        entry["content"] = sha256(path)
    if kind == "symlink":
        entry["size"] = at.st_size
        entry["target"] = text(os.readlink(path))
    if kind in ("character", "block"):
        entry["device"] = f"{os.major(at.st_rdev)}:{os.minor(at.st_rdev)}"
    return entry


def walk(path, groups):
    """Every entry of the tree, parents first, in the byte order of names."""
    waiting = [path]
    while waiting:
        at = waiting.pop()
        entry = describe(at, groups)
        yield entry
        if entry["type"] == "directory":
            waiting.extend(at + b"/" + name for name in reversed(names_in(at)))


# Relative paths, so that paths of the full permitted length can be opened below any folder.
os.chdir(sys.argv[1])
json.dump(list(walk(b".", {})), sys.stdout)
