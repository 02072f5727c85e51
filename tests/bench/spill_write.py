#!/usr/bin/env python3
"""The row spill_write: bench_spill_write, then fio on a fresh file of the same size and directory.

Called as a bench program (README.md); BENCH_BIN names the folder of the built programs.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MIB = 1 << 20
SECONDS_MAX = 280
SCRATCH = "/var/tmp"  # a disk where /tmp may be memory


def skipped(why):
    print(f"spill_write\tskipped\t{why}")
    sys.exit(0)


def ours(folder, size):
    command = [pathlib.Path(os.environ["BENCH_BIN"]) / "bench_spill_write"]
    command += ["--dir", folder, "--bytes", str(size), "--batch", str(MIB)]
    out = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                         timeout=SECONDS_MAX).stdout
    for line in out.splitlines():
        fields = line.split()
        if fields[0] == "spill_write":
            return float(fields[1])
    raise ValueError("bench_spill_write printed no spill_write line")


def fio(folder, size):
    command = ["fio", "--name=write", f"--directory={folder}", "--rw=write", "--bs=1M"]
    command += ["--ioengine=io_uring", "--iodepth=8", "--direct=1", f"--size={size}"]
    command += ["--fallocate=native", "--unlink=1", "--output-format=json"]
    out = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                         timeout=SECONDS_MAX).stdout
    job = json.loads(out[out.index("{"):])["jobs"][0]
    return job["write"]["bw_bytes"] / 1e6


def main():
    quick = "--quick" in sys.argv
    size = (256 if quick else 2048) * MIB
    if shutil.which("fio") is None:
        skipped("fio is not installed")
    if shutil.disk_usage(SCRATCH).free < 2 * size:
        skipped(f"{SCRATCH} has less than {2 * size >> 20} MiB free")
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="membroker_bench_") as folder:
        mine = ours(folder, size)
        peer = fio(folder, size)
    print(f"spill_write\t1 MiB batches\tMB/s\tours\t{mine:.0f}")
    print(f"spill_write\t1 MiB batches\tMB/s\tpeer:fio io_uring direct\t{peer:.0f}")


if __name__ == "__main__":
    main()
