"""Makes a folder of what archives find hard to hold: make-odd-folder.py FOLDER

Python, because it takes names as bytes and times in whole nanoseconds. Needs root, and a file system
with extended attributes.
"""

import os
import sys

root = os.fsencode(sys.argv[1])


def path(name):
    return os.path.join(root, name)


def write(name, content=b"", mode=0o644):
    os.makedirs(os.path.dirname(path(name)), exist_ok=True)
    with open(path(name), "wb") as file:
        file.write(content)
    os.chmod(path(name), mode)


write(b"plain", b"x" * 700)
write(b"empty")
write(b"block", bytes(range(256)) * 2)
write(b"large", os.urandom(100_000))
write(b"setuid", b"s", 0o4755)
os.mkdir(path(b"sticky"))
os.chmod(path(b"sticky"), 0o1777)
os.mkdir(path(b"locked"), 0o700)

write(b"n" * 200 + b"/" + b"m" * 150, b"long path")
write(b"/".join([b"deep"] * 60) + b"/leaf", b"deep path")
for name in [b"latin1-\xe9", "utf8-\u00e9".encode(), b"new\nline", b"back\\slash", b"per%cent", b" sp "]:
    write(b"names/" + name, name)

os.symlink(b"../plain", path(b"names/link"))
os.symlink(b"t" * 300, path(b"long-target"))
os.symlink(b"no\xe9\n", path(b"odd-target"))
os.link(path(b"plain"), path(b"names/hard"))
os.link(path(b"plain"), path(b"very-" + b"h" * 120))
os.link(path(b"names/link"), path(b"linked-link"))

os.mknod(path(b"null"), 0o020666, os.makedev(1, 3))
os.mknod(path(b"disk"), 0o060660, os.makedev(300, 70_000))
os.mkfifo(path(b"pipe"))

with open(path(b"sparse"), "wb") as file:
    for at in range(30):
        file.seek(at * 10_000)
        file.write(b"piece %d" % at)
    file.truncate(400_000)
with open(path(b"hole"), "wb") as file:
    file.truncate(100_000)

for name, ids in {b"ids/16": (65_535, 65_535), b"ids/21": (2_097_152, 3_000_000), b"ids/31": (2**31, 2**32 - 2)}.items():
    write(name, name)
    os.chown(path(name), *ids)

write(b"xattrs", b"x")
os.setxattr(path(b"xattrs"), b"user.binary", b"a\0b\n=\xff")
os.setxattr(path(b"xattrs"), b"user.text", b"text")
os.setxattr(path(b"xattrs"), b"trusted.kept", b"yes")
os.setxattr(path(b"xattrs"), b"security.capability", b"\1\0\0\2\0\x20" + b"\0" * 14)
os.setxattr(path(b"sticky"), b"user.directory", b"d")

times = {b"plain": 1_600_000_000_123_456_789, b"empty": -2_000_000_000, b"block": 8_589_934_592_000_000_001}
for folder, folders, files in os.walk(root, topdown=False):
    for name in files + folders + [b""]:
        at = os.path.join(folder, name) if name else folder
        when = times.get(os.path.relpath(at, root), 1_234_567_890_987_654_321)
        os.utime(at, ns=(when, when), follow_symlinks=False)
