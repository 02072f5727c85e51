"""Shows that the arbiter's suite catches faults.

Copies the tree to a temporary directory, puts one fault of faults.toml at a time into the copy,
builds the arbiter's tests there and runs them until one fails. Prints a table: fault, the test that
caught it, seconds. Exit status: 0 every fault was caught; 1 one survived, did not compile or did
not find its line exactly once, or the tests fail without any fault; 2 usage.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PARTS = ["CMakeLists.txt", "CMakePresets.json", "proto", "shared", "server", "client", "deploy",
         "tests"]
# In the order in which they are run: the quick ones first.
PROGRAMS = ["arbiter_examples_test", "arbiter_unit_test", "arbiter_sim_test"]
TEST_SECONDS_MAX = 900  # the sweep of seeds, on a loaded machine
FIELDS = {"name", "file", "line", "instead", "breaks"}


def load_faults():
    with open(HERE / "faults.toml", "rb") as file:
        faults = tomllib.load(file)["fault"]
    names = set()
    for fault in faults:
        if set(fault) != FIELDS:
            sys.exit(f"faults.toml: a fault has {', '.join(sorted(FIELDS))}; this one: {fault}")
        if fault["name"] in names:
            sys.exit(f"faults.toml: \"{fault['name']}\" is there twice")
        names.add(fault["name"])
    return faults


def apply_fault(text, fault):
    """The text with the fault in it; None unless its line is there exactly once."""
    lines = text.split("\n")
    found = [i for i, line in enumerate(lines) if line.strip() == fault["line"]]
    if len(found) != 1:
        return None
    indent = len(lines[found[0]]) - len(lines[found[0]].lstrip())
    lines[found[0]] = " " * indent + fault["instead"] if fault["instead"] else ""
    return "\n".join(lines)


def complaint(fault, root):
    """Why the fault cannot be put into the tree; None if it can."""
    path = root / fault["file"]
    if not path.is_file():
        return f"{fault['file']} is not there"
    if apply_fault(path.read_text(), fault) is None:
        return f"{fault['file']} does not have its line exactly once: {fault['line']}"
    return None


def run(command, cwd, seconds=None):
    environment = dict(os.environ, CCACHE_BASEDIR=str(cwd), CCACHE_NOHASHDIR="1")
    return subprocess.run(command, cwd=cwd, env=environment, timeout=seconds, text=True,
                          errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def build(copy, jobs):
    return run(["cmake", "--build", "build/release", "-j", str(jobs), "--target", *PROGRAMS], copy)


def failed_test(output):
    """The test that failed, or the one that was running when the program ended."""
    failed = re.findall(r"^\[  FAILED  \] (\S+)", output, re.M)
    started = re.findall(r"^\[ RUN      \] (\S+)", output, re.M)
    return (failed or started[-1:] or ["before the first test"])[0]


def first_catch(copy):
    """The test that fails, None if none does."""
    for program in PROGRAMS:
        command = [f"build/release/bin/{program}", "--gtest_brief=0"]
        try:
            done = run(command, copy, TEST_SECONDS_MAX)
        except subprocess.TimeoutExpired as late:
            output = late.stdout.decode(errors="replace") if late.stdout else ""
            return f"{failed_test(output)} (did not end)"
        if done.returncode == 0 and "[  PASSED  ] 0 tests" in done.stdout:
            raise RuntimeError(f"{program} ran no test")
        if done.returncode != 0:
            how = " (aborted)" if done.returncode < 0 else ""
            return failed_test(done.stdout) + how
    return None


def try_fault(fault, copy, jobs):
    """("caught" or what is wrong, by which test)"""
    path = copy / fault["file"]
    text = path.read_text()
    path.write_text(apply_fault(text, fault))
    try:
        built = build(copy, jobs)
        if built.returncode != 0:
            errors = [line for line in built.stdout.splitlines() if "error" in line]
            return "DOES NOT COMPILE", (errors or ["see the build"])[0]
        test = first_catch(copy)
        return ("caught", test) if test else ("SURVIVED", fault["breaks"])
    finally:
        path.write_text(text)


def prepare(copy, jobs):
    """Copies and builds without a fault; says what is wrong, or None."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, symlinks=True)
        else:
            shutil.copy2(ROOT / part, copy / part)
    done = run(["cmake", "--preset", "release", "-DMEMBROKER_BENCH=OFF"], copy)
    if done.returncode != 0:
        return "the copy does not configure:\n" + done.stdout
    done = build(copy, jobs)
    if done.returncode != 0:
        return "the copy does not build:\n" + done.stdout[-4000:]
    test = first_catch(copy)
    return f"without any fault {test} fails" if test else None


def run_all(faults, copy, jobs):
    started = time.monotonic()
    wrong = prepare(copy, jobs)
    if wrong:
        print(f"mutations: {wrong}", file=sys.stderr)
        return 1
    print(f"{'no fault':<34} {'passes':<16} {time.monotonic() - started:6.1f} s", flush=True)
    survivors = 0
    for fault in faults:
        started = time.monotonic()
        outcome, by = try_fault(fault, copy, jobs)
        survivors += outcome != "caught"
        took = time.monotonic() - started
        print(f"{fault['name']:<34} {outcome:<16} {took:6.1f} s  {by}", flush=True)
    print(f"{len(faults)} faults, {len(faults) - survivors} caught, {survivors} not")
    return 1 if survivors else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the faults and end")
    parser.add_argument("--check", action="store_true",
                        help="only look whether each fault's line is there exactly once")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these faults")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    faults = load_faults()
    if options.only:
        unknown = set(options.only) - {fault["name"] for fault in faults}
        if unknown:
            parser.error(f"no fault is called {', '.join(sorted(unknown))}; see --list")
        faults = [fault for fault in faults if fault["name"] in options.only]
    if options.list:
        for fault in faults:
            print(f"{fault['name']:<34} {fault['file']}: {fault['breaks']}")
        return 0
    lost = [(fault, why) for fault in faults if (why := complaint(fault, ROOT))]
    for fault, why in lost:
        print(f"mutations: {fault['name']}: {why}", file=sys.stderr)
    if lost or options.check:
        return 1 if lost else 0
    with tempfile.TemporaryDirectory(prefix="membroker-mutations-") as copy:
        return run_all(faults, pathlib.Path(copy), options.jobs)


if __name__ == "__main__":
    sys.exit(main())
