#!/usr/bin/env python3
"""The row external_sort: our example and GNU sort on the same file of random lines, each with the
same memory, one thread and the same temporary directory. The outputs must be equal. They alternate,
two passes each, and the faster counts: the wall's time and the processor's.

Called as a bench program (README.md) with the row's id; BENCH_BIN names the folder of the built
programs.
"""

import filecmp
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time

from settle import settle

MIB = 1 << 20
SECONDS_MAX = 280
SCRATCH = "/var/tmp"  # a disk where /tmp may be memory
INPUT_PER_MEMORY = 8


def write_input(path, size):
    """Lines of 22 to 201 bytes that begin with a random number, from a seed."""
    source = random.Random(1)
    words = [bytes(source.choices(b"abcdefghijklmnopqrstuvwxyz0123456789 ", k=200))
             for _ in range(1000)]
    written = 0
    with open(path, "wb", buffering=4 * MIB) as file:
        while written < size:
            key = b"%016x " % source.getrandbits(64)
            written += file.write(key + words[source.randrange(1000)][:source.randrange(4, 184)])
            written += file.write(b"\n")


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(command, environment):
    """Of the wall and of the processor."""
    begin, processor_before = time.monotonic(), processor_seconds()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=SECONDS_MAX)
    return time.monotonic() - begin, processor_seconds() - processor_before


def measure(memory, folder):
    """The faster pass of each: others on the machine only slow it down."""
    program = pathlib.Path(os.environ["BENCH_BIN"]) / "external_sort"
    source, mine, theirs = (f"{folder}/{name}" for name in ("input", "ours", "peer"))
    write_input(source, INPUT_PER_MEMORY * memory)
    environment = dict(os.environ, LC_ALL="C")
    # With each the file it writes.
    commands = {
        "peer": (["sort", "--parallel=1", f"--buffer-size={memory}b", "-T", folder, source,
                  "-o", theirs], theirs),
        "ours": ([program, source, "-o", mine, "-T", folder, "--embedded", str(memory)], mine),
    }
    took = {"ours": [], "peer": []}
    for side in ("peer", "ours", "ours", "peer"):
        command, output = commands[side]
        pathlib.Path(output).unlink(missing_ok=True)
        settle(2 * INPUT_PER_MEMORY * memory)
        with open(source, "rb", buffering=0) as file:  # the page cache has all of it then
            while file.read(4 * MIB):
                pass
        took[side].append(seconds(command, environment))
    if not filecmp.cmp(mine, theirs, shallow=False):
        raise ValueError("external_sort and sort differ in their output")
    return min(took["ours"]), min(took["peer"])


def main():
    row = sys.argv[1]
    memory = (16 if "--quick" in sys.argv else 64) * MIB
    if not (pathlib.Path(os.environ["BENCH_BIN"]) / "external_sort").exists():
        print(f"{row}\tskipped\texternal_sort is not built")
        return
    if shutil.disk_usage(SCRATCH).free < 5 * INPUT_PER_MEMORY * memory:
        print(f"{row}\tskipped\t{SCRATCH} has too little room")
        return
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="membroker_bench_") as folder:
        ours, peer = measure(memory, folder)
    case = f"{INPUT_PER_MEMORY * memory // MIB} MiB in {memory // MIB} MiB"
    for what, mine, theirs in zip((case, f"{case}, processor's time"), ours, peer):
        print(f"{row}\t{what}\ts\tours\t{mine:.3f}")
        print(f"{row}\t{what}\ts\tpeer:GNU sort\t{theirs:.3f}")


if __name__ == "__main__":
    main()
