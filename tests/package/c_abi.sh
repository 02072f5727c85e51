# shellcheck shell=bash
# To be sourced: the C ABI of a library as text, without paths and lines.
#   write_c_abi LIBRARY HEADER_FOLDER OUTPUT

write_c_abi() {
  local library=$1 headers=$2 output=$3 suppressions result=0
  suppressions=$(mktemp)
  printf '[%s]\n  symbol_name_regexp = ^_Z\n  drop = true\n' suppress_function suppress_variable \
    >"$suppressions"
  # Opaque structures stay opaque: only what the public headers define is told.
  abidw --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed --no-architecture \
    --no-parameter-names --type-id-style hash --suppressions "$suppressions" \
    --exported-interfaces-only --headers-dir "$headers" --drop-private-types \
    --out-file "$output" "$library" || result=$?
  rm -f "$suppressions"
  sed -i "s|path='[^']*/|path='|" "$output"
  return "$result"
}
