# Shell functions, to be sourced: the Debian packages each kind of work needs, and getting them.
#
#   ensure_packages build test      installs what is missing; says what it does; fails with a
#                                   clear message where it cannot

# shellcheck shell=bash

# What CMake looks for, whatever the targets.
declare -ga MEMBROKER_PACKAGES_build=(
  g++ cmake ninja-build ccache pkg-config
  libgrpc++-dev libgrpc-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libspdlog-dev libasio-dev libcli11-dev libtomlplusplus-dev libexpected-dev
  libsqlite3-dev libzstd-dev liblz4-dev libxxhash-dev libmimalloc-dev liburing-dev libsystemd-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
# What the tests run beside their own programs.
declare -ga MEMBROKER_PACKAGES_test=(python3 procps abigail-tools)
# What the demonstration runs beside the programs built here.
declare -ga MEMBROKER_PACKAGES_quickstart=(python3)
declare -ga MEMBROKER_PACKAGES_fuzz=(clang-14 libclang-rt-14-dev)
declare -ga MEMBROKER_PACKAGES_bench=(fio)

# Of the names given, those that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed ||
      printf '%s\n' "$name"
  done
}

# as_root COMMAND…: directly, or by sudo.
as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# ensure_packages GROUP…
ensure_packages() {
  local group wanted=() missing
  for group in "$@"; do
    local -n names="MEMBROKER_PACKAGES_$group"
    wanted+=("${names[@]}")
  done
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "not a Debian system, so packages cannot be installed here; needed: ${wanted[*]}" >&2
    return 1
  fi
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  ((${#missing[@]})) || return 0
  echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
  if [[ $(id -u) != 0 ]] && ! command -v sudo >/dev/null; then
    echo "not root, and no sudo: as root run: apt-get install ${missing[*]}" >&2
    return 1
  fi
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-install-recommends)
  local log
  log=$(mktemp)
  # A fresh machine has no package index, and a stale one names versions that are gone.
  if ! as_root "${apt[@]}" install "${missing[@]}" >"$log" 2>&1; then
    echo "updating the package index and trying again"
    if ! { as_root "${apt[@]}" update && as_root "${apt[@]}" install "${missing[@]}"; } >"$log" 2>&1
    then
      tail -n 15 "$log" >&2
      rm -f "$log"
      mapfile -t missing < <(missing_packages "${missing[@]}")
      echo "apt-get could not install: ${missing[*]} (Debian 12 has them all)" >&2
      return 1
    fi
  fi
  rm -f "$log"
}
