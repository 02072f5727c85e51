#!/usr/bin/env bash
# Builds and runs the tests. Complete on a fresh Debian 12: installs the packages it needs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

usage() {
  cat <<'TXT'
usage: tests/run.sh [--asan | --long] [-R REGEX]

  (default)  the release build's tests, then the concurrent ones under ThreadSanitizer
  --asan     the whole suite under AddressSanitizer and UndefinedBehaviorSanitizer
  --long     everything: both of the above, the long runs, and the fuzzers for a minute each
  -R REGEX   only the tests whose names match

Exit status: 0 all passed, 1 a test or build failed, 2 usage.
TXT
}

mode=default
filter=()
while (($#)); do
  case $1 in
    --asan) mode=asan ;;
    --long) mode=long ;;
    -R) [[ $# -ge 2 ]] || { usage >&2; exit 2; }; filter=(-R "$2"); shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "tests/run.sh: unknown argument \"$1\"" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

# shellcheck source=../deploy/lib/packages.sh
source deploy/lib/packages.sh
ensure_packages build test
[[ $mode == long ]] && ensure_packages fuzz

# A clone elsewhere finds the objects of this one again.
export CCACHE_BASEDIR="$root" CCACHE_NOHASHDIR=1
export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=0:abort_on_error=1"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1"
# Debian's gRPC is not instrumented: see the file for what is left out and why.
export TSAN_OPTIONS="suppressions=$root/tests/tsan.supp:ignore_noninstrumented_modules=1"
TSAN_OPTIONS+=":halt_on_error=1:second_deadlock_stack=1"
export LSAN_OPTIONS="suppressions=$root/tests/lsan.supp:print_suppressions=0"

step() { printf '\n== %s  (%s)\n' "$1" "$(date +%T)"; }

build() { # preset, target…
  local preset=$1
  shift
  step "build: $preset"
  cmake --preset "$preset" >"build/$preset.configure.log" 2>&1 || {
    cat "build/$preset.configure.log"
    echo "tests/run.sh: cmake --preset $preset failed; what is missing is named above" >&2
    exit 1
  }
  cmake --build "build/$preset" --target "$@"
}

run() { # preset, ctest arguments…
  local preset=$1
  shift
  step "test: $preset $*"
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j 2 "$@" \
    ${filter[@]+"${filter[@]}"}
}

mkdir -p build
case $mode in
  default | long)
    build release all
    run release -LE long
    build tsan tsan_tests
    run tsan -L tsan -LE long
    ;;&
  asan | long)
    build asan all
    run asan -LE long
    ;;&
  long)
    run release -L long
    build fuzz all
    tests/fuzz/run.sh 60
    ;;
esac
step "done: all passed"
