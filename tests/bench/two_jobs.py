#!/usr/bin/env python3
"""The rows two_jobs and two_jobs_throttled: two jobs with different phases of demand, under one
broker and with a static half of the same memory each.

Job A sorts one large file, then small ones; job B the small ones first, then a large one. A large
file fits the whole budget, but not half of it; large and small together fit. Both ways the same
commands sort the same files; their outputs are read by this program and must be equal.
two_jobs_throttled: the same while the disk reads and writes 400 MB/s at most (blkio cgroup, root).

Called as a bench program (README.md) with the row's id; BENCH_BIN names the folder of the built
programs.
"""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1 << 20
SECONDS_MAX = 280
SCRATCH = "/var/tmp"  # a disk where /tmp may be memory
BLKIO = pathlib.Path("/sys/fs/cgroup/blkio")
THROTTLE = 400_000_000
SMALL_PER_LARGE = 8
SAMPLE_SECONDS = 0.02
CONFIG = """runtime_directory = "{folder}/run"
state_directory = "{folder}/state"
[resources.ram]
capacity = {budget}
[[tenant]]
path = "a"
[[tenant]]
path = "b"
"""


class Skipped(Exception):
    pass


def write_input(path, size):
    """Random lines of 60 bytes."""
    text = base64.b64encode(os.urandom(size * 3 // 4))
    with open(path, "wb") as file:
        for begin in range(0, len(text), 59 * 4096):
            block = text[begin:begin + 59 * 4096]
            file.write(b"\n".join(block[i:i + 59] for i in range(0, len(block), 59)) + b"\n")


def anonymous_bytes(pid):
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    wanted = ("RssAnon:", "RssShmem:")
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(wanted))


class Jobs:
    """Runs both jobs at once and samples what their processes hold together."""

    def __init__(self, folder, arguments):
        self.folder = folder
        self.arguments = arguments  # of a job: how it gets its memory
        self.running = {}
        self.peak = 0
        self.digests = {"a": hashlib.sha1(), "b": hashlib.sha1()}  # of all outputs of a job
        self.spilled = 0
        self.errors = []
        self.ended = threading.Event()

    def sort(self, job, name):
        program = pathlib.Path(os.environ["BENCH_BIN"]) / "external_sort"
        stats = pathlib.Path(f"{self.folder}/{job}.stats")
        command = [program, f"{self.folder}/{name}", "-T", self.folder, "--stats", stats]
        with open(f"{self.folder}/{job}.errors", "w+") as errors:
            process = subprocess.Popen([*command, *self.arguments(job)], stdout=subprocess.PIPE,
                                       stderr=errors)
            self.running[job] = process.pid
            while block := process.stdout.read(MIB):
                self.digests[job].update(block)
            if process.wait(SECONDS_MAX) != 0:
                errors.seek(0)
                raise RuntimeError(f"sort of {name}: status {process.returncode}: {errors.read()}")
        self.spilled += json.loads(stats.read_text())["spilled_bytes"]

    def run_job(self, job, names):
        try:
            for name in names:
                self.sort(job, name)
        except (RuntimeError, OSError, subprocess.SubprocessError) as why:
            self.errors.append(str(why))

    def sample(self):
        while not self.ended.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(map(anonymous_bytes, self.running.copy().values())))

    def run(self):
        small = ["small"] * SMALL_PER_LARGE
        phases = {"a": ["large-a", *small], "b": [*small, "large-b"]}
        jobs = [threading.Thread(target=self.run_job, args=each) for each in phases.items()]
        sampler = threading.Thread(target=self.sample)
        begin = time.monotonic()
        sampler.start()
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        took = time.monotonic() - begin
        self.ended.set()
        sampler.join()
        if self.errors:
            raise RuntimeError("; ".join(self.errors))
        return took

    def outputs(self):
        return [digest.hexdigest() for digest in self.digests.values()]


@contextlib.contextmanager
def broker(folder, budget):
    config = pathlib.Path(folder) / "membrokerd.toml"
    config.write_text(CONFIG.format(folder=folder, budget=budget))
    program = pathlib.Path(os.environ["BENCH_BIN"]) / "membrokerd"
    socket = pathlib.Path(folder) / "run" / "broker.sock"
    with open(f"{folder}/log", "wb") as log:
        daemon = subprocess.Popen([program, "--config", config], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 20
        while not socket.exists():
            if daemon.poll() is not None or time.monotonic() > until:
                raise RuntimeError("membrokerd does not start: see its log: "
                                   + pathlib.Path(f"{folder}/log").read_text()[-400:])
            time.sleep(0.01)
        yield str(socket)
    finally:
        daemon.terminate()
        daemon.wait(20)


def ram_status(folder):
    program = pathlib.Path(os.environ["BENCH_BIN"]) / "membrokerctl"
    done = subprocess.run([program, "--socket", f"{folder}/run/admin.sock", "status", "-o", "json"],
                          check=True, text=True, stdout=subprocess.PIPE, timeout=20)
    status = json.loads(done.stdout)
    row = status["resources"][0]
    figure = lambda *names: next((int(row[n]) for n in names if n in row), 0)  # noqa: E731
    return figure("peak_held_bytes", "peakHeldBytes"), figure("peak_debt_bytes", "peakDebtBytes")


@contextlib.contextmanager
def throttled(folder, wanted):
    """Puts this process and its children under a limit of the disk that `folder` is on."""
    if not wanted:
        yield
        return
    device = os.stat(folder).st_dev
    disk = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if (disk / "partition").exists():
        disk = disk.resolve().parent
    try:
        number = (disk / "dev").read_text().strip()
        group = BLKIO / f"membroker_bench_{os.getpid()}"
        group.mkdir()
    except OSError as why:
        raise Skipped(f"no blkio cgroup can be made for the disk of {SCRATCH}: {why}") from None
    home = next((line.split(":", 2)[2] for line in
                 pathlib.Path("/proc/self/cgroup").read_text().splitlines()
                 if "blkio" in line.split(":", 2)[1].split(",")), "/")
    try:
        for what in ("read", "write"):
            (group / f"blkio.throttle.{what}_bps_device").write_text(f"{number} {THROTTLE}\n")
        (group / "cgroup.procs").write_text(f"{os.getpid()}\n")
        yield
    except PermissionError as why:
        raise Skipped(f"the disk cannot be throttled: {why}") from None
    finally:
        (BLKIO / home.lstrip("/") / "cgroup.procs").write_text(f"{os.getpid()}\n")
        group.rmdir()


def measure(budget, folder):
    large = budget * 9 // 16
    for name, size in (("large-a", large), ("large-b", large), ("small", large // SMALL_PER_LARGE)):
        write_input(f"{folder}/{name}", size)
    halves = Jobs(folder, lambda job: ["--embedded", str(budget // 2)])
    peer = halves.run()
    with broker(folder, budget) as socket:
        shared = Jobs(folder, lambda job: ["--tenant", job, "--socket", socket])
        ours = shared.run()
        held, debt = ram_status(folder)
    if shared.outputs() != halves.outputs():
        raise RuntimeError("the outputs under the broker and with halves differ")
    return {"ours": ours, "peer": peer, "held": held, "debt": debt, "anonymous": shared.peak,
            "spilled": shared.spilled, "peer_spilled": halves.spilled}


def main():
    row = sys.argv[1]
    budget = (96 if "--quick" in sys.argv else 512) * MIB
    try:
        with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="membroker_bench_") as folder:
            with throttled(folder, row == "two_jobs_throttled"):
                got = measure(budget, folder)
    except Skipped as why:
        print(f"{row}\tskipped\t{why}")
        return
    budget_text = f"of {budget // MIB} MiB"
    print(f"{row}\tmakespan\ts\tours\t{got['ours']:.3f}")
    print(f"{row}\tmakespan\ts\tpeer:static halves\t{got['peer']:.3f}")
    print(f"{row}\tspilled\tMB\tours\t{got['spilled'] / 1e6:.0f}")
    print(f"{row}\tspilled\tMB\tpeer:static halves\t{got['peer_spilled'] / 1e6:.0f}")
    for case, figure in (("peak of leases", got["held"] / budget),
                         ("peak of debt", got["debt"] / budget),
                         ("peak RssAnon of both", got["anonymous"] / budget)):
        print(f"{row}\t{case} {budget_text}\tbudgets\tours\t{figure:.4f}")


if __name__ == "__main__":
    main()
