"""Reads files over and over and compares: read-objects.py THREADS < JSON lines

First line of input: [[path, path of the same bytes], ...]. Reads at random, with nothing cached,
until the input ends; prints one JSON object: reads, wrong bytes, errors, seconds of the longest.
"""

import json
import os
import random
import sys
import threading
import time

PAIRS = json.loads(sys.stdin.readline())
READ_MAX = 200_000
stop = threading.Event()


class Reader(threading.Thread):
    def __init__(self, number):
        super().__init__(daemon=True)
        self.random = random.Random(number)
        self.reads, self.wrong, self.longest, self.errors = 0, 0, 0.0, []

    def run(self):
        while not stop.is_set():
            path, same = self.random.choice(PAIRS)
            try:
                self.read_one(path, same)
            except OSError as error:
                self.errors.append(f"{path}: {error}")
                return

    def read_one(self, path, same):
        size = os.stat(same).st_size
        length = self.random.randint(1, min(size, READ_MAX))
        offset = self.random.randint(0, size - length)
        start = time.monotonic()
        got = self.read_cold(path, length, offset)
        self.longest = max(self.longest, time.monotonic() - start)
        with open(same, "rb", buffering=0) as file:
            if got != os.pread(file.fileno(), length, offset):
                self.wrong += 1
        self.reads += 1

    def read_cold(self, path, length, offset):
        file = os.open(path, os.O_RDONLY)
        try:
            got = b""
            while len(got) < length:
                piece = os.pread(file, length - len(got), offset + len(got))
                if not piece:
                    break
                got += piece
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            return got
        finally:
            os.close(file)


readers = [Reader(number) for number in range(int(sys.argv[1]))]
for reader in readers:
    reader.start()
print("reading", flush=True)
sys.stdin.read()
stop.set()
for reader in readers:
    reader.join(20)
result = {
    "reads": sum(reader.reads for reader in readers),
    "wrong": sum(reader.wrong for reader in readers),
    "errors": [error for reader in readers for error in reader.errors],
    "stuck": sum(reader.is_alive() for reader in readers),
    "longest": max(reader.longest for reader in readers),
}
print(json.dumps(result), flush=True)
