"""Prints what the kernel shows below a directory, one JSON object a line; names are Latin-1."""
import json, os, stat, sys

root = os.fsencode(sys.argv[1])


def show(path):
    full = root + b'/' + path if path else root
    info = os.lstat(full)
    kind = stat.S_IFMT(info.st_mode)
    xattrs = {}
    for name in os.listxattr(full, follow_symlinks=False):
        value = os.getxattr(full, name, follow_symlinks=False)
        xattrs[os.fsencode(name).decode('latin1')] = value.hex()
    device = kind in (stat.S_IFCHR, stat.S_IFBLK)
    print(json.dumps({
        'path': path.decode('latin1'),
        'mode': info.st_mode,
        'uid': info.st_uid,
        'gid': info.st_gid,
        'mtime': str(info.st_mtime_ns),
        'nlink': info.st_nlink,
        'inode': str(info.st_ino),
        'size': info.st_size,
        'device': f'{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}' if device else '',
        'target': os.readlink(full).decode('latin1') if kind == stat.S_IFLNK else '',
        'xattrs': xattrs,
    }))
    return kind == stat.S_IFDIR


pending = [b'']
while pending:
    at = pending.pop()
    if show(at):
        for name in os.listdir(root + b'/' + at):
            pending.append(at + b'/' + name if at else name)
