#!/usr/bin/env bash
# What the library exports: the C ABI as in abi/c_symbols.txt, namespace membroker, nothing else.
#   check_symbols.sh LIBRARY INCLUDE_FOLDER…
set -euo pipefail
library=$1
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
complain() {
  echo "$*"
  status=1
}

nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' >"$work/versioned"
if grep -v '@@MEMBROKER_0$' "$work/versioned"; then
  complain "these symbols are not of the version MEMBROKER_0"
fi
sed 's/@@.*//' "$work/versioned" | LC_ALL=C sort >"$work/all"

grep '^mb_' "$work/all" >"$work/c" || true
if ! diff -u "$here/abi/c_symbols.txt" "$work/c"; then
  complain "the C ABI is not that of abi/c_symbols.txt: if that is meant, run update_abi.sh"
fi

grep -v '^mb_' "$work/all" >"$work/cpp" || true
if grep -vE '^_Z(T[ISVT])?N[KOR]*9membroker' "$work/cpp"; then
  complain "these symbols are neither mb_* nor of namespace membroker"
fi
inner='^_Z(T[ISVT])?N[KOR]*9membroker(1c|2v1|5lease|5spill|6detail|6memory|9transport)'
if grep -E "$inner" "$work/cpp" | grep -v '^_ZN9membroker6detail9zero_areaEv$'; then
  complain "these symbols are of namespaces that no user needs"
fi
# By name also inside a signature: a parameter of a foreign type would be a leak.
if c++filt <"$work/cpp" | grep -E 'grpc|google::|protobuf|absl::|spdlog|fmt::|membroker::v1'; then
  complain "these symbols tell of libraries that are nobody's business"
fi

if grep -rnE '#include *[<"](grpc|google/|absl/|spdlog|fmt/|asio|membroker/v1)' "$@"; then
  complain "these public headers include libraries that a user need not have"
fi
echo "$(wc -l <"$work/c") C and $(wc -l <"$work/cpp") C++ symbols"
exit "$status"
