#!/usr/bin/env python3
"""Writes policies.md: the policies on the five workloads, by membroker-sim.

usage: policies.py SIM [--check]     SIM: the path of membroker-sim

--check compares instead of writing, and exits 1 if a figure of the page is not what SIM prints.
"""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE / "policies.md"
POLICIES = ["fair", "greedy", "static_split", "equal_split", "task_fair"]
RUNS = 20

WORKLOADS = ["steady", "bursty", "one_hog", "many_small", "hostile"]

# Column, key of membroker-sim's JSON, how it is written.
COLUMNS = [
    ("makespan", "makespan_ms", "time"),
    ("job p50", "job_p50_ms", "time"),
    ("job p99", "job_p99_ms", "time"),
    ("in use", "used", "percent"),
    ("Jain, tenants", "tenant_fairness", "index"),
    ("Jain, sessions", "session_fairness", "index"),
    ("wait p50", "wait_p50_ms", "time"),
    ("wait p99", "wait_p99_ms", "time"),
    ("starved", "starved_longest_ms", "time"),
    ("spilled", "spilled_bytes", "gib"),
    ("revoked", "revocations", "count"),
    ("late", "late", "count"),
    ("unfinished", "jobs_unfinished", "count"),
]


def shown(value, kind):
    if kind == "time":
        return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"
    if kind == "percent":
        return f"{100 * value:.1f} %"
    if kind == "index":
        return f"{value:.3f}"
    if kind == "gib":
        return f"{value / 2**30:.1f} GiB"
    return f"{value:.1f}"


def run(sim, workload, policy, growth=None):
    """The cells of a row, and the command that prints their figures."""
    arguments = ["-w", f"tests/sim/workloads/{workload}.toml", "-p", policy, "--runs", str(RUNS)]
    if growth is not None:
        arguments += ["--growth", str(growth)]
    done = subprocess.run(
        [sim, *arguments, "-o", "json"], cwd=HERE.parent.parent, capture_output=True, text=True,
        check=False)
    if done.returncode != 0:
        sys.exit(f"{sim} {' '.join(arguments)} failed: {done.stderr.strip()}")
    figures = json.loads(done.stdout)
    cells = [shown(figures[key], kind) for _, key, kind in COLUMNS]
    return cells, "`membroker-sim " + " ".join(arguments) + "`"


def table(first, rows):
    heads = [first, *(name for name, _, _ in COLUMNS), "command"]
    lines = ["| " + " | ".join(heads) + " |",
             "| --- |" + " ---: |" * len(COLUMNS) + " --- |"]
    lines += ["| " + " | ".join([name, *cells, command]) + " |" for name, (cells, command) in rows]
    return "\n".join(lines) + "\n"


def page(sim):
    text = (HERE / "policies.in.md").read_text(encoding="utf-8")
    for workload in WORKLOADS:
        rows = [(policy, run(sim, workload, policy)) for policy in POLICIES]
        text = text.replace(f"@{workload}@\n", table("policy", rows))
        rows = [(f"{growth}", run(sim, workload, "fair", growth)) for growth in (1, 4, 16)]
        text = text.replace(f"@growth-{workload}@\n", table("chunks", rows))
    return text


def main():
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["--check"]):
        sys.exit(__doc__)
    text = page(str(pathlib.Path(sys.argv[1]).resolve()))
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
        return
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        sys.exit("tests/sim/policies.md differs from what membroker-sim prints now; if that is "
                 "meant, write it again: tests/sim/policies.py build/release/bin/membroker-sim")


if __name__ == "__main__":
    main()
