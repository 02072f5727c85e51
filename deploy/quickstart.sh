#!/usr/bin/env bash
# Shows the product at work, from a fresh Debian 12 machine on: two programs of two tenants sort
# real files, each larger than all the memory there is to lend, under one budget.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

usage() {
  cat <<'TXT'
usage: deploy/quickstart.sh

Installs the Debian packages it needs, builds, makes its input from this machine's package index,
and runs membrokerd with two tenants whose sorts share 256 MiB. What it writes is in
build/quickstart/ and about 9 GiB while it runs; a second run finds builds and input there.

Exit status: 0 all checks passed, 1 one did not or something is missing, 2 usage.
TXT
}
case ${1-} in
  '') ;;
  -h | --help) usage; exit 0 ;;
  *) echo "deploy/quickstart.sh: unknown argument \"$1\"" >&2; usage >&2; exit 2 ;;
esac

# shellcheck source=lib/packages.sh
source deploy/lib/packages.sh
work=build/quickstart
bin=build/release/bin
base_bytes_min=$((10 << 20))
# The second file is larger, so that its sort is still reading when the first one has ended.
input_bytes=($((1 << 30)) $((1792 << 20)))
disk_needed_kib=$((9 << 20))

step() { printf '\n== %s  (%s)\n' "$1" "$(date +%T)"; }
die() {
  echo "deploy/quickstart.sh: $1" >&2
  exit 1
}

step "packages"
ensure_packages build quickstart || exit 1

step "build"
mkdir -p "$work"
cmake --preset release >build/release.configure.log 2>&1 || {
  cat build/release.configure.log >&2
  die "cmake --preset release failed; what is missing is named above"
}
cmake --build build/release --target membrokerd membrokerctl external_sort quickstart_input

step "input"
base=$work/packages.txt
if [[ ! -s $base ]]; then
  apt-cache dumpavail >"$base.part"
  if (($(stat -c %s "$base.part") < base_bytes_min)); then
    echo "the package index is empty; apt-get update"
    as_root apt-get -q update >/dev/null ||
      die "apt-get update failed; without it there is no input"
    apt-cache dumpavail >"$base.part"
  fi
  (($(stat -c %s "$base.part") >= base_bytes_min)) ||
    die "apt-cache dumpavail gives less than 10 MB; is a Debian archive in /etc/apt/sources.list?"
  mv "$base.part" "$base"
fi
for i in 0 1; do
  input=$work/input-$((i + 1)).txt
  if [[ ! -s $input ]]; then
    echo "making $input out of $base"
    "$bin/quickstart_input" "$base" "$input.part" "${input_bytes[i]}" $((i + 1)) ||
      die "$input cannot be made; is the disk full?"
    mv "$input.part" "$input"
  fi
  printf '%s: %d lines, %d bytes\n' "$input" "$(wc -l <"$input")" "$(stat -c %s "$input")"
done
free_kib=$(df --output=avail -k "$work" | tail -n 1)
((free_kib >= disk_needed_kib)) ||
  die "$work has $((free_kib >> 10)) MiB free, $((disk_needed_kib >> 10)) MiB are needed"

step "two sorts under one budget of 256 MiB"
status=0
export PYTHONDONTWRITEBYTECODE=1 # nothing is written beside the sources
python3 deploy/quickstart/run.py --bin "$bin" --work "$work" \
  "$work/input-1.txt" "$work/input-2.txt" || status=$?
rm -f "$work"/*.sorted "$work"/*.gnu
step "done"
exit "$status"
