"""Extracts one OCI layer over what lower layers left: apply-layer.py ROOT LAYER.tar

GNU tar writes the entries. What it cannot know is done here: whiteouts, entries that replace one of
another type, and times of directories that the layer changes without naming them.
https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
"""

import os
import shutil
import stat
import subprocess
import sys
import tarfile


def parts(name):
    return [part for part in name.split("/") if part not in ("", ".")]


def existing(root, name):
    """The lower entry of that name, or None. Links on the way are refused: this is an oracle."""
    path = root
    for index, part in enumerate(parts(name)):
        path = os.path.join(path, part)
        if not os.path.lexists(path):
            return None
        if index < len(parts(name)) - 1 and os.path.islink(path):
            raise SystemExit(f"{name}: goes through the symbolic link {path}")
    return path


def is_directory(path):
    return stat.S_ISDIR(os.lstat(path).st_mode)


def remove(path):
    if is_directory(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def make_room(root, member):
    folder, name = os.path.split("/".join(parts(member.name)))
    if name == ".wh..wh..opq":
        lower = existing(root, folder)
        for child in os.listdir(lower) if lower else []:
            remove(os.path.join(lower, child))
    elif name.startswith(".wh."):
        lower = existing(root, os.path.join(folder, name[len(".wh.") :]))
        if lower:
            remove(lower)
    elif name:
        lower = existing(root, member.name)
        if lower and is_directory(lower) != member.isdir():
            remove(lower)


def directory_times(root):
    return {path: os.lstat(path).st_mtime_ns for path, _, _ in os.walk(root)}


def main(root, layer):
    with tarfile.open(layer, "r:", encoding="utf-8", errors="surrogateescape") as tar:
        members = tar.getmembers()
    times = directory_times(root)
    for member in members:
        make_room(root, member)
    flags = "--extract --same-permissions --same-owner --numeric-owner --xattrs --xattrs-include=*"
    extract = ["tar", *flags.split(), "--delay-directory-restore", "--exclude=.wh.*"]
    subprocess.run([*extract, f"--directory={root}", f"--file={layer}"], check=True)
    named = {os.path.join(root, *parts(member.name)) for member in members if member.isdir()}
    for path, time in times.items():
        if path not in named and os.path.lexists(path) and is_directory(path):
            os.utime(path, ns=(time, time))


main(sys.argv[1], sys.argv[2])
