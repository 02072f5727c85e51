#!/usr/bin/env python3
"""The rows spill_write, spill_read and spill_page_cache: bench_spill_write, then fio on a fresh
file of the same size in the same directory.

Called as a bench program (README.md) with the row's id; BENCH_BIN names the folder of the built
programs.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PROGRAM = pathlib.Path(os.environ["BENCH_BIN"]) / "bench_spill_write"
MIB = 1 << 20
SECONDS_MAX = 280
SCRATCH = "/var/tmp"  # a disk where /tmp may be memory


class Skipped(Exception):
    """Why the row cannot be measured."""


def ours(row, folder, size):
    command = [PROGRAM, "--dir", folder, "--bytes", str(size), "--batch", str(MIB)]
    out = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                         timeout=SECONDS_MAX).stdout
    for line in out.splitlines():
        fields = line.split()
        if fields[0] == row:
            return float(fields[1])
    raise ValueError(f"bench_spill_write printed no {row} line")


def fio(direction, folder, size):
    command = ["fio", "--name=peer", f"--directory={folder}", f"--rw={direction}", "--bs=1M"]
    command += ["--ioengine=io_uring", "--iodepth=8", "--direct=1", f"--size={size}"]
    command += ["--fallocate=native", "--output-format=json"]
    out = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                         timeout=SECONDS_MAX).stdout
    job = json.loads(out[out.index("{"):])["jobs"][0]
    return job[direction]["bw_bytes"] / 1e6


def measure(row, size):
    """(case, unit, side, number) of each figure."""
    if not PROGRAM.exists():
        raise Skipped(f"{PROGRAM} is not built")
    if shutil.disk_usage(SCRATCH).free < 2 * size:
        raise Skipped(f"{SCRATCH} has less than {2 * size >> 20} MiB free")
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="membroker_bench_") as folder:
        mine = ours(row, folder, size)
        if row == "spill_page_cache":
            return [(f"{size // MIB} MiB", "MiB", "ours", mine)]
        if shutil.which("fio") is None:
            raise Skipped("fio is not installed")
        peer = fio("write", folder, size)
        if row == "spill_read":
            peer = fio("read", folder, size)  # what the writing has left
    return [("1 MiB batches", "MB/s", "ours", mine),
            ("1 MiB batches", "MB/s", "peer:fio io_uring direct", peer)]


def main():
    row = sys.argv[1]
    try:
        size = (256 if "--quick" in sys.argv else 2048) * MIB
        for case, unit, side, number in measure(row, size):
            print(f"{row}\t{case}\t{unit}\t{side}\t{number:.1f}")
    except Skipped as why:
        print(f"{row}\tskipped\t{why}")


if __name__ == "__main__":
    main()
