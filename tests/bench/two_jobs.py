#!/usr/bin/env python3
"""The rows two_jobs and two_jobs_throttled: two jobs with different phases of demand, under one
broker and with a static half of the same memory each.

Job A sorts one large file, then small ones; job B the small ones first, then a large one. A large
file and its index fit the whole budget, but not half of it; large and small together fit. Both ways
the same commands sort the same files. Twice: of narrow rows, where comparing lines takes most of
the time, and of wide ones, as tables have them, where moving bytes does.
two_jobs_throttled: the same while the disk reads and writes 400 MB/s at most (blkio cgroup, root).

Measured passes alternate, four each, and the fastest counts. They throw the sorted lines away,
since what their reader would take is alike both ways; before them a pass of each that is not
measured writes them: they must be equal.

Called as a bench program (README.md) with the row's id; BENCH_BIN names the folder of the built
programs.
"""

import base64
import contextlib
import filecmp
import json
import os
import pathlib
import resource
import select
import subprocess
import sys
import tempfile
import threading
import time

from settle import settle

MIB = 1 << 20
SECONDS_MAX = 280
SCRATCH = "/var/tmp"  # a disk where /tmp may be memory
BLKIO = pathlib.Path("/sys/fs/cgroup/blkio")
THROTTLE = 400_000_000
SMALL_PER_LARGE = 8
# Bytes of a row with its newline, and the part of the budget that the rows of a large file take:
# 0.7 of it with their index, 16 bytes a row.
CASES = {60: 9 / 16, 500: 11 / 16}
SETTLED_BUDGETS = 3
PASSES = 2 * ("halves", "shared", "shared", "halves")
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


def write_input(path, size, row):
    """Random lines of `row` bytes."""
    text = base64.b64encode(os.urandom(size * 3 // 4))
    with open(path, "wb") as file:
        for begin in range(0, len(text), (row - 1) * 4096):
            block = text[begin:begin + (row - 1) * 4096]
            lines = (block[i:i + row - 1] for i in range(0, len(block), row - 1))
            file.write(b"\n".join(lines) + b"\n")


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def anonymous_bytes(pid):
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    wanted = ("RssAnon:", "RssShmem:")
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(wanted))


class Jobs:
    """Runs both jobs at once and samples what their processes hold together."""

    def __init__(self, folder, arguments, outputs=None):
        self.folder = folder
        self.arguments = arguments  # of a job: how it gets its memory
        self.outputs = outputs  # folder for the sorted files; None: thrown away
        self.running = {}
        self.peak = 0
        self.spilled = 0
        self.processor = 0
        self.errors = []
        self.ended = threading.Event()

    def sort(self, job, name):
        program = pathlib.Path(os.environ["BENCH_BIN"]) / "external_sort"
        stats = pathlib.Path(f"{self.folder}/{job}.stats")
        output = f"{self.outputs}/{job}-{name}" if self.outputs else os.devnull
        command = [program, f"{self.folder}/{name}", "-o", output, "-T", self.folder,
                   "--stats", stats]
        with open(f"{self.folder}/{job}.errors", "w+") as errors:
            process = subprocess.Popen([*command, *self.arguments(job)], stderr=errors)
            self.running[job] = process.pid
            # wait() with a time limit polls, up to 50 ms late.
            with open(os.pidfd_open(process.pid), "rb", buffering=0) as ended:
                if not select.select([ended], [], [], SECONDS_MAX)[0]:
                    process.kill()
            if process.wait() != 0:
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

    def run(self, budget):
        settle(SETTLED_BUDGETS * budget)
        processor_before = processor_seconds()
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
        self.processor = processor_seconds() - processor_before
        self.ended.set()
        sampler.join()
        if self.errors:
            raise RuntimeError("; ".join(self.errors))
        return took


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


class Comparison:
    """Both ways of sharing one budget, over the same files."""

    def __init__(self, folder, budget):
        self.folder = folder
        self.budget = budget
        self.passes = {"halves": [], "shared": []}  # (makespan, processor's time, MB spilled)
        self.peaks = {"leases": 0, "debt": 0, "RssAnon of both": 0}

    def run_pass(self, way, outputs=None):
        if way == "halves":
            jobs = Jobs(self.folder, lambda job: ["--embedded", str(self.budget // 2)], outputs)
            took = jobs.run(self.budget)
        else:
            with broker(self.folder, self.budget) as socket:
                jobs = Jobs(self.folder, lambda job: ["--tenant", job, "--socket", socket], outputs)
                took = jobs.run(self.budget)
                held, debt = ram_status(self.folder)
            for what, peak in (("leases", held), ("debt", debt), ("RssAnon of both", jobs.peak)):
                self.peaks[what] = max(self.peaks[what], peak)
        return took, jobs.processor, jobs.spilled / 1e6

    def check_outputs(self):
        sorted_files = []
        for way in self.passes:
            outputs = pathlib.Path(self.folder) / way
            outputs.mkdir()
            self.run_pass(way, outputs)
            sorted_files.append({each.name: each for each in outputs.iterdir()})
        halves, shared = sorted_files
        if halves.keys() != shared.keys() or not all(
                filecmp.cmp(halves[name], shared[name], shallow=False) for name in halves):
            raise RuntimeError("the outputs under the broker and with halves differ")
        for each in [*halves.values(), *shared.values()]:
            each.unlink()

    def run(self):
        self.check_outputs()
        for way in PASSES:
            self.passes[way].append(self.run_pass(way))

    def report(self, row, case):
        for side, way in (("ours", "shared"), ("peer:static halves", "halves")):
            makespan, processor, spilled = min(self.passes[way])  # others only slow it down
            print(f"{row}\tmakespan, {case}\ts\t{side}\t{makespan:.3f}")
            print(f"{row}\tprocessor's time, {case}\ts\t{side}\t{processor:.3f}")
            print(f"{row}\tspilled, {case}\tMB\t{side}\t{spilled:.0f}")
        for what, peak in self.peaks.items():
            what = f"peak of {what} of {self.budget // MIB} MiB, {case}"
            print(f"{row}\t{what}\tbudgets\tours\t{peak / self.budget:.4f}")


def measure(row, budget, bytes_per_row, part):
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="membroker_bench_") as folder:
        large = int(budget * part)
        for name, size in (("large-a", large), ("large-b", large),
                           ("small", large // SMALL_PER_LARGE)):
            write_input(f"{folder}/{name}", size, bytes_per_row)
        comparison = Comparison(folder, budget)
        with throttled(folder, row == "two_jobs_throttled"):
            comparison.run()
        comparison.report(row, f"rows of {bytes_per_row} bytes")


def main():
    row = sys.argv[1]
    budget = (96 if "--quick" in sys.argv else 512) * MIB
    try:
        for bytes_per_row, part in CASES.items():
            measure(row, budget, bytes_per_row, part)
    except Skipped as why:
        print(f"{row}\tskipped\t{why}")


if __name__ == "__main__":
    main()
