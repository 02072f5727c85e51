# shellcheck shell=bash
# To be sourced: what a library offers of namespace membroker, as a user would write it.
#   cpp_names LIBRARY
#
# Functions defined in the library, and the types and tables of its classes: they do not depend on
# what the compiler chose to inline. Inline functions are in the user's program; what a class hides
# behind its Impl is nobody's.

cpp_names() {
  nm -D --defined-only "$1" | awk '$2 ~ /^[TDBRV]$/ { print $3 }' | sed 's/@@.*//' |
    grep -v '^mb_' | c++filt | grep -v '::Impl' | LC_ALL=C sort -u
}
