"""
Runs in a container of the soak image. Reads its files in the ways that programs do (read, mmap, exec,
readdir) and compares every byte with the same tree at /known, which is of the host. Half of what was
read is made cold again behind it, as far as the kernel's page cache goes.

    reader.py OUT SEED WORKERS

OUT/<worker>.jsonl has a line for each problem and each long operation, and a summary at the end.
OUT/now-<worker> says what is being done. A file OUT/pause makes all of them let go of everything and
say so by OUT/paused-<worker>; OUT/stop ends them.
"""

import json
import mmap
import os
import random
import subprocess
import sys
import time

KNOWN = "/known"
FOLDERS = ("/bin", "/data", "/usr/lib")
PIECE = 256 * 1024
# Operations longer than this many seconds are told one by one.
LONG = 0.5
# Of a page cache that forgets: how often a file is dropped from it after use.
FORGET = 0.6
MODULES = ("calendar", "csv", "difflib", "fractions", "gettext", "html", "netrc", "pprint", "quopri")


def known_files():
    files = []
    for folder in FOLDERS:
        for path, folders, names in os.walk(KNOWN + folder):
            folders.sort()
            for name in sorted(names):
                known = os.path.join(path, name)
                if os.path.isfile(known) and not os.path.islink(known):
                    files.append(known[len(KNOWN):])
    return files


def known_folders(files):
    return sorted({os.path.dirname(path) for path in files})


class Wrong(Exception):
    """What was read is not what is known."""


class Worker:
    def __init__(self, out, seed, index):
        self.out = out
        self.index = index
        self.random = random.Random(f"{seed} {index}")
        self.files = known_files()
        self.folders = known_folders(self.files)
        self.programs = [path for path in self.files if path.startswith("/bin/program")]
        self.log = open(f"{out}/{index}.jsonl", "w", buffering=1)
        self.now = os.open(f"{out}/now-{index}", os.O_WRONLY | os.O_CREAT, 0o644)
        self.counts = {}
        self.bytes = 0
        # Operations by length: 64 classes, of which each is a quarter longer than the one before.
        self.lengths = [0] * 64
        self.longest = 0.0

    def run(self):
        ways = (
            [self.read] * 8 + [self.read_somewhere] * 4 + [self.map] * 5 + [self.list] * 2
            + [self.execute] * 2 + [self.walk_modules]
        )
        while not os.path.exists(f"{self.out}/stop"):
            if os.path.exists(f"{self.out}/pause"):
                self.pause()
                continue
            self.once(self.random.choice(ways))
        self.tell(summary=self.counts, bytes=self.bytes, lengths=self.lengths, longest=self.longest)

    def pause(self):
        for path in self.files:
            try:
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
            except OSError as error:
                self.tell(problem=f"{type(error).__name__}: {error}", way="pause", path=path)
        mark = f"{self.out}/paused-{self.index}"
        open(mark, "w").close()
        while os.path.exists(f"{self.out}/pause"):
            time.sleep(0.02)
        os.unlink(mark)

    def once(self, way):
        path = self.random.choice(self.files)
        name = way.__name__
        os.pwrite(self.now, f"{time.time():.3f} {name} {path}".ljust(300).encode(), 0)
        began = time.monotonic()
        problem = None
        try:
            way(path)
        except Wrong as wrong:
            problem = f"wrong bytes: {wrong}"
        except Exception as error:  # an error of whatever kind is what this looks for
            problem = f"{type(error).__name__}: {error}"
        took = time.monotonic() - began
        self.counts[name] = self.counts.get(name, 0) + 1
        self.lengths[length_class(took)] += 1
        self.longest = max(self.longest, took)
        if problem is not None or took > LONG:
            self.tell(problem=problem, way=name, path=path, took=took)

    def tell(self, **what):
        self.log.write(json.dumps({"at": time.time(), **what}) + "\n")

    def compare(self, path, offset, got):
        with open(KNOWN + path, "rb", buffering=0) as known:
            wanted = os.pread(known.fileno(), len(got), offset)
        self.bytes += len(got)
        if got != wanted:
            pairs = enumerate(zip(got, wanted))
            first = next((at for at, (a, b) in pairs if a != b), min(len(got), len(wanted)))
            raise Wrong(f"{path} at {offset + first} of {os.path.getsize(KNOWN + path)}")

    def forget(self, descriptor):
        if self.random.random() < FORGET:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def read(self, path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            offset = 0
            while piece := os.read(descriptor, PIECE):
                self.compare(path, offset, piece)
                offset += len(piece)
            if offset != os.path.getsize(KNOWN + path):
                raise Wrong(f"{path} ends at {offset}")
            self.forget(descriptor)
        finally:
            os.close(descriptor)

    def read_somewhere(self, path):
        size = os.path.getsize(KNOWN + path)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            for _ in range(4):
                offset = self.random.randrange(max(1, size))
                length = min(self.random.choice((1, 4096, 70_000)), size - offset)
                got = os.pread(descriptor, length, offset)
                if len(got) != length:
                    raise Wrong(f"{path} has {len(got)} of {length} bytes at {offset}")
                self.compare(path, offset, got)
            self.forget(descriptor)
        finally:
            os.close(descriptor)

    def map(self, path):
        size = os.path.getsize(KNOWN + path)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if size == 0:
                return
            with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as mapped:
                for offset in range(0, size, PIECE):
                    self.compare(path, offset, mapped[offset:offset + PIECE])
            self.forget(descriptor)
        finally:
            os.close(descriptor)

    def list(self, _):
        folder = self.random.choice(self.folders)
        for name, known in zip(sorted(os.listdir(folder)), sorted(os.listdir(KNOWN + folder)), strict=True):
            if name != known:
                raise Wrong(f"{folder} lists {name}, not {known}")
            here, there = os.lstat(f"{folder}/{name}"), os.lstat(f"{KNOWN}{folder}/{name}")
            if (here.st_mode, here.st_mtime_ns) != (there.st_mode, there.st_mtime_ns):
                raise Wrong(f"{folder}/{name} has another mode or time")

    def execute(self, path):
        program = self.random.choice(self.programs)
        done = subprocess.run(["cat", path], executable=program, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr[-200:]}")
        self.compare(path, 0, done.stdout)
        descriptor = os.open(program, os.O_RDONLY)
        self.forget(descriptor)
        os.close(descriptor)

    def walk_modules(self, _):
        module = self.random.choice(MODULES)
        code = f"import {module}; print({module}.__name__)"
        done = subprocess.run([sys.executable, "-I", "-B", "-c", code], capture_output=True, text=True)
        if done.stdout.strip() != module:
            raise RuntimeError(f"python ended with {done.returncode}: {done.stderr[-300:]}")


def length_class(seconds):
    """0 for a tenth of a millisecond, 63 for two minutes."""
    length, at = 0.0001, 0
    while seconds > length and at < 63:
        length *= 1.25
        at += 1
    return at


def main():
    out, seed, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    children = {}
    for index in range(workers):
        pid = os.fork()
        if pid == 0:
            try:
                Worker(out, seed, index).run()
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        children[pid] = index
    print("reading", flush=True)
    failed = 0
    while children:
        pid, status = os.wait()
        index = children.pop(pid, None)
        if index is not None and status != 0:
            failed += 1
            print(f"worker {index} ended with {os.waitstatus_to_exitcode(status)}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
