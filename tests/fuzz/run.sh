#!/usr/bin/env bash
# Runs every fuzzer of the fuzz preset for some seconds each, from the corpus in the tree.
#
#   tests/fuzz/run.sh [SECONDS]      default 60; a crash leaves its input in build/fuzz/crashes
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
seconds=${1:-60}
crashes="$root/build/fuzz/crashes"
mkdir -p "$crashes"
status=0
for program in "$root"/build/fuzz/bin/*_fuzz; do
  name=$(basename "$program" _fuzz)
  found="$root/build/fuzz/found/$name"  # new inputs stay out of the tree
  mkdir -p "$found"
  echo "fuzz: $name for $seconds s"
  if ! "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$crashes/$name-" "$found" "$root/tests/fuzz/corpus/$name" \
    >"$found.log" 2>&1; then
    tail -n 40 "$found.log" >&2
    echo "fuzz: $name failed; its input is $crashes/$name-…" >&2
    status=1
  fi
  grep -E '^stat::number_of_executed_units' "$found.log" || true
done
exit "$status"
