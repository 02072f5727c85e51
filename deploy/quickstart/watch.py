"""Samples of what is lent and of what is really used, taken while the sorts run."""

import json
import subprocess
import threading
import time
from dataclasses import dataclass, field

RSS_INTERVAL_S = 0.02
LEASE_INTERVAL = "100ms"  # the daemon's own snapshot is no fresher


def number(value):
    """JSON of 64-bit integers is text."""
    return int(value or 0)


@dataclass
class Sample:
    """One look at the daemon."""

    time_s: float
    capacity: int
    held: int  # by the daemon's own sum
    debt: int
    leases: int  # our sum of the leases in the same answer
    by_tenant: dict
    revoking: int
    totals: dict = field(default_factory=dict)


def parse_sample(line, started):
    answer = json.loads(line)
    resource = next(r for r in answer["status"]["resources"] if r["resource"] == "ram")
    by_tenant = {}
    for lease in answer["leases"].get("leases", []):
        held = number(lease.get("held_bytes"))
        by_tenant[lease["tenant"]] = by_tenant.get(lease["tenant"], 0) + held
    return Sample(
        time_s=time.monotonic() - started,
        capacity=number(resource.get("capacity_bytes")),
        held=number(resource.get("held_bytes")),
        debt=number(resource.get("debt_bytes")),
        leases=sum(by_tenant.values()),
        by_tenant=by_tenant,
        revoking=number(resource.get("revoking_bytes")),
        totals=resource,
    )


class LeaseWatch(threading.Thread):
    """Reads `membrokerctl top` until stopped; calls `on_sample` with each sample."""

    def __init__(self, membrokerctl, socket, started, on_sample):
        super().__init__(daemon=True)
        self.samples = []
        self._begin = started
        self._on_sample = on_sample
        self._process = subprocess.Popen(
            [membrokerctl, "--socket", socket, "-o", "json", "top", "--interval", LEASE_INTERVAL],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self):
        for line in self._process.stdout:
            sample = parse_sample(line, self._begin)
            self.samples.append(sample)
            self._on_sample(sample)

    def latest(self):
        return self.samples[-1] if self.samples else None

    def stop(self):
        self._process.terminate()
        self._process.wait()
        self.join()


class RssWatch(threading.Thread):
    """Peak of a process's own memory: RssAnon + RssShmem, so not of files it maps or reads."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.peak = 0
        self.samples = 0
        self._path = f"/proc/{pid}/status"

    def run(self):
        while True:
            try:
                with open(self._path, encoding="ascii") as file:
                    text = file.read()
            except OSError:
                return
            used = [
                int(line.split()[1]) * 1024
                for line in text.splitlines()
                if line.startswith(("RssAnon:", "RssShmem:"))
            ]
            if not used:  # a zombie has no memory any more
                return
            self.peak = max(self.peak, sum(used))
            self.samples += 1
            time.sleep(RSS_INTERVAL_S)
