#!/usr/bin/env bash
# Installs the library into a folder of its own and builds a user's program against it.
#   install_test.sh cmake|pkg-config BUILD_FOLDER C_COMPILER CXX_COMPILER
set -euo pipefail
way=$1 build=$2 cc=$3 cxx=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" --component libmembroker >"$work/install.log"
pc=$(find "$work/prefix" -name libmembroker.pc)
libdir=$(dirname "$(dirname "$pc")")
[[ -e $libdir/libmembroker.so.0 ]] || { echo "no libmembroker.so.0 in $libdir"; exit 1; }
if grep -rn "$build\|$(dirname "$(dirname "$here")")" "$work/prefix/include" "$libdir/cmake" "$pc"
then
  echo "the installed files name the tree that they were built in"
  exit 1
fi

case $way in
  cmake)
    cmake -S "$here/cpp_sample" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" \
      -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_BUILD_TYPE=Release >"$work/configure.log"
    cmake --build "$work/build"
    "$work/build/sample" "$work"
    ;;
  pkg-config)
    export PKG_CONFIG_PATH=${pc%/*}
    read -ra flags < <(pkg-config --cflags --libs libmembroker)
    [[ $(pkg-config --variable=prefix libmembroker) == "$work/prefix" ]]
    "$cc" -std=c99 -pedantic -Wall -Wextra -Werror "$here/c_sample/main.c" -o "$work/sample" \
      "${flags[@]}"
    LD_LIBRARY_PATH=$libdir "$work/sample"
    ;;
esac
