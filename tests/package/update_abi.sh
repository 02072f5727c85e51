#!/usr/bin/env bash
# Writes what is in abi/ from a release build, after a change that is meant.
#   update_abi.sh BUILD_FOLDER
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=c_abi.sh
source "$here/c_abi.sh"
# shellcheck source=cpp_names.sh
source "$here/cpp_names.sh"
library=${1:?usage: update_abi.sh BUILD_FOLDER}/lib/libmembroker.so
nm -D --defined-only "$library" | sed -n 's/.* \(mb_[a-z0-9_]*\)@@.*/\1/p' | LC_ALL=C sort \
  >"$here/abi/c_symbols.txt"
cpp_names "$library" >"$here/abi/cpp_names.txt"
write_c_abi "$library" "$here/../../client/include/membroker" "$here/abi/c_abi.xml"
echo "$(wc -l <"$here/abi/c_symbols.txt") functions," \
  "$(wc -l <"$here/abi/cpp_names.txt") C++ names," \
  "$(wc -c <"$here/abi/c_abi.xml") bytes of description"
