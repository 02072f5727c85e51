#!/usr/bin/env bash
# Builds and runs the benches and prints one table: ours, peer, ratio, target. See README.md.
#
#   tests/bench/run.sh [--only ID…] [--list] [--json FILE] [--quick]
#
# Exit status: 0 the table was printed, met or not; 1 the build failed; 2 usage.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build_dir="$root/build/release"
bench=(python3 "$root/tests/bench/run.py" --build-dir "$build_dir")

# Usage errors, --help and --list need nothing built.
for argument in "$@"; do
  case $argument in --list | --help | -h) exec "${bench[@]}" "$@" ;; esac
done
"${bench[@]}" --list "$@" >/dev/null

# shellcheck source=../../deploy/lib/packages.sh
source "$root/deploy/lib/packages.sh"
ensure_packages build test bench

log="$root/build/bench.log"
mkdir -p "$root/build"
echo "building the benches (log: build/bench.log)" >&2
cd "$root"
if ! { cmake --preset release && cmake --build "$build_dir" --target membroker_bench; } \
  >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "tests/bench/run.sh: the build failed; the whole log is build/bench.log" >&2
  exit 1
fi

# The Rust peer, once, at low priority. Why it is not there is what its rows say.
build_peer() {
  local why="$build_dir/cargo/skipped" manifest="$root/tests/bench/datafusion_peer/Cargo.toml"
  mkdir -p "$build_dir/cargo"
  rm -f "$why"
  if ! command -v cargo >/dev/null; then
    echo "no Rust toolchain: cargo is not in PATH" >"$why"
    return
  fi
  [[ -e "$build_dir/cargo/release/datafusion_peer" ]] ||
    echo "building the DataFusion peer, once (log: build/cargo.log)" >&2
  if ! CARGO_TARGET_DIR="$build_dir/cargo" nice -n 19 cargo build --release --locked \
    --manifest-path "$manifest" >"$root/build/cargo.log" 2>&1; then
    rm -f "$build_dir/cargo/release/datafusion_peer"
    echo "cargo could not build datafusion_peer: $(grep -m 1 '^error' "$root/build/cargo.log" ||
      tail -n 1 "$root/build/cargo.log")" >"$why"
  fi
}
build_peer

exec "${bench[@]}" "$@"
