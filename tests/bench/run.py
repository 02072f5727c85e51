#!/usr/bin/env python3
"""Runs the benches and prints one table; see README.md. Called by run.sh, which builds them."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import rows as bench_rows  # noqa: E402

COMMAND_SECONDS_MAX = 600
# A session of its own with a raised weight, where that is allowed.
OWN_SESSION = (
    "setsid", "-w", "bash", "-c",
    'echo -12 2>/dev/null >/proc/self/autogroup; exec "$@"', "_",
)


class Skipped(Exception):
    """Why a row cannot be measured."""


def load():
    return "load average " + " ".join(f"{value:.2f}" for value in os.getloadavg())


def program_path(build_dir, name):
    if name.startswith("script:"):
        return pathlib.Path(__file__).parent / name.removeprefix("script:")
    if name.startswith("cargo:"):
        path = build_dir / "cargo" / "release" / name.removeprefix("cargo:")
        if not path.exists():
            reason = build_dir / "cargo" / "skipped"
            raise Skipped(reason.read_text().strip() if reason.exists() else f"{path} is not built")
        return path
    path = build_dir / "bin" / name
    if not path.exists():
        raise Skipped(f"{path} is not built")
    return path


def run_program(path, row_id, quick):
    """The figures it printed: (case, unit, side) -> number."""
    command = [*OWN_SESSION, str(path), row_id] + (["--quick"] if quick else [])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise Skipped(f"{path.name} took longer than {COMMAND_SECONDS_MAX} s") from None
    figures = {}
    for line in done.stdout.splitlines():
        fields = line.split("\t")
        if len(fields) == 3 and fields[1] == "skipped":
            raise Skipped(fields[2])
        if len(fields) == 5 and fields[0] == row_id:
            figures[(fields[1], fields[2], fields[3])] = float(fields[4])
    if done.returncode != 0 or not figures:
        words = (done.stderr.strip() or "nothing said").splitlines()[-1]
        raise Skipped(f"{path.name} failed with status {done.returncode}: {words}")
    return figures


def measure(row, build_dir, quick):
    """Result rows of one id."""
    # Ours is named first and must be there; a peer that is missing leaves our figure alone.
    paths, skipped = [], []
    for name in row.programs:
        try:
            paths.append(program_path(build_dir, name))
        except Skipped as why:
            skipped.append({"id": row.id, "skipped": str(why)})
            if not paths:
                return skipped
    samples = {}
    for _ in range(1 if quick else row.rounds):
        for path in paths:
            try:
                for key, number in run_program(path, row.id, quick).items():
                    samples.setdefault(key, []).append(number)
            except Skipped as why:
                return [{"id": row.id, "skipped": str(why)}]
    medians = {key: statistics.median(values) for key, values in samples.items()}
    return combine(row, medians) + skipped


def combine(row, medians):
    results = []
    for (case, unit, side), ours in medians.items():
        if side != "ours":
            continue
        peers = [
            (other.removeprefix("peer:"), number)
            for (its_case, its_unit, other), number in medians.items()
            if (its_case, its_unit) == (case, unit) and other.startswith("peer:")
        ]
        for peer_name, peer in peers or [(None, None)]:
            ratio = ours / peer if peer else None
            target = row.target_of(case)
            results.append({
                "id": row.id,
                "case": case,
                "unit": unit,
                "ours": ours,
                "peer": peer,
                "peer_name": peer_name,
                "ratio": ratio,
                "target": target.text(unit) if target else None,
                "met": target.met(ours, ratio) if target else None,
            })
    return results


def cells(result):
    if "skipped" in result:
        return [result["id"], "skipped: " + result["skipped"]]
    number = lambda value: "-" if value is None else f"{value:.4g}"  # noqa: E731
    met = {True: "yes", False: "NO", None: "-"}[result["met"]]
    peer = number(result["peer"])
    if result["peer_name"]:
        peer += f" {result['peer_name']}"
    return [
        result["id"], result["case"], result["unit"], number(result["ours"]), peer,
        number(result["ratio"]), result["target"] or "-", met,
    ]


def table(results):
    header = ["ID", "CASE", "UNIT", "OURS", "PEER", "RATIO", "TARGET", "MET"]
    lines = [header] + [cells(result) for result in results]
    widths = [max(len(line[i]) for line in lines if len(line) == len(header)) for i in range(8)]
    widths[0] = max(len(line[0]) for line in lines)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run.sh", description=__doc__)
    parser.add_argument("--build-dir", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--only", nargs="+", metavar="ID", help="only these rows")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the rows")
    parser.add_argument("--quick", action="store_true", help="once and shortly; not to be quoted")
    chosen = parser.parse_args()
    known = [row.id for row in bench_rows.ROWS]
    for row_id in chosen.only or []:
        if row_id not in known:
            parser.error(f"no row {row_id}; there are {' '.join(known)}")
    return chosen


def main():
    chosen = arguments()
    os.environ["BENCH_BIN"] = str(chosen.build_dir.resolve() / "bin")
    wanted = [row for row in bench_rows.ROWS if not chosen.only or row.id in chosen.only]
    if chosen.list:
        for row in wanted:
            print(f"{row.id:14} {row.what}")
        return 0
    print(f"{load()}, {os.cpu_count()} cores" + (", quick: not to be quoted" * chosen.quick))
    results = []
    for row in wanted:
        print(f"measuring {row.id}: {row.what}", file=sys.stderr, flush=True)
        results += measure(row, chosen.build_dir.resolve(), chosen.quick)
    print(table(results))
    print(load())
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
