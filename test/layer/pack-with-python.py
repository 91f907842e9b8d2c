"""Writes FOLDER as an archive with Python's tarfile: pack-with-python.py FORMAT FOLDER ARCHIVE"""

import os
import sys
import tarfile

formats = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
archive = tarfile.open(
    sys.argv[3],
    mode="w",
    format=formats[sys.argv[1]],
    encoding="utf-8",
    errors="surrogateescape",
)
os.chdir(sys.argv[2])
paths = ["."]
for folder, folders, files in os.walk("."):
    paths += [os.path.join(folder, name) for name in sorted(folders) + sorted(files)]
for path in paths:
    try:
        archive.add(path, recursive=False)
    except ValueError:
        pass  # what this format cannot hold
archive.close()
