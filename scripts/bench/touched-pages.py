"""What the page cache holds of a tree: touched-pages.py drop|list FOLDER

`drop` empties it; `list` prints one JSON object: SHA-256 of a file -> [[offset, length], ...] of its
pages that are in memory. With read-ahead switched off, that is what programs touched in between.
"""

import ctypes
import hashlib
import json
import mmap
import os
import stat
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE


def files_in(folder):
    for path, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            at = os.path.join(path, name)
            if stat.S_ISREG(os.lstat(at).st_mode) and os.lstat(at).st_size > 0:
                yield at


def drop(path):
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def touched(path):
    """Pages in memory, adjacent ones as one range."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        pages = (ctypes.c_ubyte * ((size + PAGE - 1) // PAGE))()
        # A private mapping, because a buffer of it for ctypes must be writable; nothing writes.
        with mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as data:
            view = (ctypes.c_char * size).from_buffer(data)
            failed = LIBC.mincore(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size), pages)
            del view
        if failed:
            raise OSError(ctypes.get_errno(), "mincore", path)
    ranges = []
    for at in (at * PAGE for at, page in enumerate(pages) if page & 1):
        length = min(PAGE, size - at)
        if ranges and sum(ranges[-1]) == at:
            ranges[-1][1] += length
        else:
            ranges.append([at, length])
    return ranges


def content(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


if sys.argv[1] == "drop":
    os.sync()
    for found in files_in(sys.argv[2]):
        drop(found)
else:
    lists = {found: touched(found) for found in list(files_in(sys.argv[2]))}
    json.dump({content(found): ranges for found, ranges in lists.items() if ranges}, sys.stdout)
