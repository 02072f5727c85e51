#!/usr/bin/env bash
# Writes abi/c_symbols.txt and abi/c_abi.xml from a release build, after a change that is meant.
#   update_abi.sh BUILD_FOLDER
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=c_abi.sh
source "$here/c_abi.sh"
library=${1:?usage: update_abi.sh BUILD_FOLDER}/lib/libmembroker.so
nm -D --defined-only "$library" | sed -n 's/.* \(mb_[a-z0-9_]*\)@@.*/\1/p' | LC_ALL=C sort \
  >"$here/abi/c_symbols.txt"
write_c_abi "$library" "$here/../../client/include/membroker" "$here/abi/c_abi.xml"
echo "$(wc -l <"$here/abi/c_symbols.txt") functions," \
  "$(wc -c <"$here/abi/c_abi.xml") bytes of description"
