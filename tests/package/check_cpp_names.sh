#!/usr/bin/env bash
# Compares the C++ names that the library exports with abi/cpp_names.txt.
#   check_cpp_names.sh LIBRARY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cpp_names.sh
source "$here/cpp_names.sh"
if ! diff -u "$here/abi/cpp_names.txt" <(cpp_names "$1"); then
  echo "The C++ names that libmembroker.so exports are not those of"
  echo "tests/package/abi/cpp_names.txt."
  echo "A line with - was removed or has another signature: programs built against it stop working."
  echo "A line with + is new: it should be declared in a public header (else hide it in"
  echo "client/package/libmembroker.map)."
  echo "If that is meant: tests/package/update_abi.sh BUILD_FOLDER, with a release build, and"
  echo "commit what it writes."
  exit 1
fi
echo "$(wc -l <"$here/abi/cpp_names.txt") C++ names"
