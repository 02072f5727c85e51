"""Two sorts of two tenants under one budget: starts them, watches, checks and reports.

Started by deploy/quickstart.sh, which built the programs and made the input."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import Report, draw_sample, format_bytes
from watch import LeaseWatch, RssWatch

MIB = 1 << 20
CAPACITY = 256 * MIB
# The smaller tenant has a guarantee.
TENANTS = {
    "etl": {"weight": 2, "guarantee": 0},
    "reports": {"weight": 1, "guarantee": 48 * MIB},
}
CONFIG = """\
runtime_directory = "{run}"
state_directory = "{run}/state"
[resources.ram]
capacity = {capacity}
"""
CONFIG_TENANT = """\
[[tenant]]
path = "{path}"
weight = {weight}
guarantee = {guarantee}
"""
FULL = 0.9  # of the capacity: what a sort alone gets to before the other one is started
START_WAIT_S = 15
SORT_WAIT_S = 600
DRAW_INTERVAL_S = 1


class Failed(Exception):
    """The demonstration cannot go on; the message says why."""


class Daemon:
    def __init__(self, bin_dir, run_dir):
        self.run_dir = run_dir
        config = run_dir / "membrokerd.toml"
        text = CONFIG.format(run=run_dir, capacity=CAPACITY)
        for path, policy in TENANTS.items():
            text += CONFIG_TENANT.format(path=path, **policy)
        config.write_text(text)
        self.log_path = run_dir / "membrokerd.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [bin_dir / "membrokerd", "--config", config], stdout=log, stderr=log
            )
        until = time.monotonic() + START_WAIT_S
        ready = [bin_dir / "membrokerctl", "--socket", self.admin_socket, "status"]
        while subprocess.run(ready, capture_output=True, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise Failed(f"membrokerd did not start:\n{self.log_path.read_text()}")
            time.sleep(0.05)

    @property
    def socket(self):
        return str(self.run_dir / "broker.sock")

    @property
    def admin_socket(self):
        return str(self.run_dir / "admin.sock")

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Sort:
    """One external_sort under the daemon."""

    def __init__(self, bin_dir, daemon, tenant, data, work):
        self.tenant = tenant
        self.input = data
        self.output = work / f"{tenant}.sorted"
        self.stats_path = work / f"{tenant}.json"
        self.stats_path.unlink(missing_ok=True)
        spill = work / "spill"
        spill.mkdir(exist_ok=True)
        self.started = time.monotonic()
        self.ended = None
        self.process = subprocess.Popen(
            [bin_dir / "external_sort", data, "--output", self.output, "--tenant", tenant]
            + ["--socket", daemon.socket, "--temp-dir", spill, "--stats", self.stats_path],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.rss = RssWatch(self.process.pid)
        self.rss.start()

    def running(self):
        if self.process.poll() is None:
            return True
        if self.ended is None:
            self.ended = time.monotonic()
            if self.process.returncode != 0:
                raise Failed(f"sort of {self.tenant} failed: {self.process.stderr.read().strip()}")
        return False

    def stats(self):
        return json.loads(self.stats_path.read_text())


class Drawing:
    """A line of the live plot now and then."""

    def __init__(self):
        self._next = 0

    def __call__(self, sample):
        if sample.time_s >= self._next:
            self._next = sample.time_s + DRAW_INTERVAL_S
            print(draw_sample(sample, list(TENANTS)), flush=True)


def wait_for(what, condition, seconds):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise Failed(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)


def run_jobs(bin_dir, daemon, inputs, work):
    """Returns (sorts, samples, seconds from A's start to B's)."""
    started = time.monotonic()
    watch = LeaseWatch(str(bin_dir / "membrokerctl"), daemon.admin_socket, started, Drawing())
    watch.start()
    names = list(TENANTS)
    sorts = []
    try:
        print(f"   {names[0]} sorts {inputs[0].name}, {format_bytes(inputs[0].stat().st_size)}")
        sorts.append(Sort(bin_dir, daemon, names[0], inputs[0], work))

        def alone_has_all():
            last = watch.latest()
            held = last.by_tenant.get(names[0], 0) if last else 0
            return held >= FULL * CAPACITY or not sorts[0].running()

        wait_for(f"{names[0]} holds {FULL:.0%} of the budget", alone_has_all, SORT_WAIT_S)
        print(f"   {names[1]} sorts {inputs[1].name}, {format_bytes(inputs[1].stat().st_size)}")
        sorts.append(Sort(bin_dir, daemon, names[1], inputs[1], work))
        for sort in sorts:
            wait_for(f"{sort.tenant} finishes", lambda: not any(s.running() for s in sorts),
                     SORT_WAIT_S)
    finally:
        for sort in sorts:
            if sort.process.poll() is None:
                sort.process.kill()
            sort.process.wait()
            sort.rss.join()
        watch.stop()
    return sorts, watch.samples


def gnu_sort(inputs, work, delay_s):
    """Both files by GNU sort, each with half of the budget, started as far apart as ours.

    Returns (outputs, seconds until both were done)."""
    env = dict(os.environ, LC_ALL="C")
    outputs = [work / f"{path.stem}.gnu" for path in inputs]
    started = time.monotonic()
    processes = []
    for i, (path, output) in enumerate(zip(inputs, outputs)):
        if i > 0:
            time.sleep(delay_s)
        command = ["sort", "--parallel=1", f"--buffer-size={CAPACITY // 2}"]
        command += ["-T", work / "spill", "-o", output, path]
        processes.append(subprocess.Popen(command, env=env))
    for process in processes:
        if process.wait() != 0:
            raise Failed("GNU sort failed; is the disk full?")
    return outputs, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, required=True, help="folder of the programs")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything written")
    parser.add_argument("inputs", type=Path, nargs=2)
    arguments = parser.parse_args()
    # A socket's path is at most 107 bytes long: not below the work folder, wherever that is.
    run_dir = Path(tempfile.mkdtemp(prefix="membroker-quickstart."))
    try:
        daemon = Daemon(arguments.bin, run_dir)
        try:
            sorts, samples = run_jobs(arguments.bin, daemon, arguments.inputs, arguments.work)
        finally:
            status = daemon.stop()
            shutil.copy(daemon.log_path, arguments.work / "membrokerd.log")
        seconds = max(s.ended for s in sorts) - sorts[0].started
        print("   the same by GNU sort, each with half of the budget", flush=True)
        delay = sorts[1].started - sorts[0].started
        outputs, gnu_seconds = gnu_sort(arguments.inputs, arguments.work, delay)
        report = Report(sorts, samples, CAPACITY, TENANTS)
        report.add_outcome(status, outputs, seconds, gnu_seconds)
        print(report.text())
        return 0 if report.passed() else 1
    except Failed as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
