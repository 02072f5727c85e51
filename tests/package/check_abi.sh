#!/usr/bin/env bash
# Compares the library's C ABI (functions, structures, numbers) with abi/c_abi.xml.
#   check_abi.sh LIBRARY HEADER_FOLDER
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=c_abi.sh
source "$here/c_abi.sh"
if ! command -v abidiff >/dev/null; then
  echo "skipped: abidiff is not installed (Debian package abigail-tools)"
  exit 77
fi
now=$(mktemp)
trap 'rm -f "$now"' EXIT
write_c_abi "$1" "$2" "$now"
if ! abidiff "$here/abi/c_abi.xml" "$now"; then
  echo "the C ABI has changed. Adding is allowed: run update_abi.sh and commit. Changing or" \
    "removing breaks programs: undo it."
  exit 1
fi
