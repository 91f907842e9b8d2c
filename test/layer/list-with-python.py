"""Prints what Python's tarfile reads from an archive on standard input, as one JSON array.

In the JSON each byte of a name is the character of the same number (ISO 8859-1).
"""

import hashlib
import json
import sys
import tarfile

TYPES = {b"0": "file", b"\0": "file", b"7": "file", b"S": "file", b"1": "hardlink", b"2": "symlink"}
TYPES |= {b"3": "character", b"4": "block", b"5": "directory", b"6": "fifo"}


def text(name):
    return name.encode("utf-8", "surrogateescape").decode("latin-1")


entries = []
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
    for member in archive:
        kind = TYPES[member.type]
        entry = {"path": text(member.name), "type": kind, "uid": member.uid, "gid": member.gid}
        entry["mode"] = member.mode & 0o7777
        if kind == "file":
            content = archive.extractfile(member).read()
            entry["size"] = len(content)
            entry["content"] = "sha256:" + hashlib.sha256(content).hexdigest()
        if kind in ("symlink", "hardlink"):
            entry["target"] = text(member.linkname)
        if kind in ("character", "block"):
            entry["device"] = [member.devmajor, member.devminor]
        entries.append(entry)
json.dump(entries, sys.stdout)
