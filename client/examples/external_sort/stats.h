#pragma once

#include <cstdint>
#include <string>

#include "membroker/client.h"
#include "shared/bytes.h"

/// \file
/// What a sort did, for people and, as one JSON object, for programs.

namespace membroker::external_sort {

struct SortStats {
  double seconds = 0;
  double read_seconds = 0;  // of these: until the input was in memory and in runs
  Bytes input_bytes = 0;
  Bytes output_bytes = 0;
  std::int64_t lines = 0;
  std::int64_t runs = 0;                // ever spilled, those of merges included
  std::int64_t merge_passes = 0;        // merges of runs, the last one included; 0 without runs
  Bytes spilled_bytes = 0;              // of lines, written to spill files
  std::int64_t refusals = 0;            // blocks refused, met by spilling
  std::int64_t revocations_served = 0;  // times the sort spilled because it was asked to

  /// With the client's own figures: lease peak, overdraft, revocations, attaches.
  std::string to_json(const ClientStats& client) const;
  /// Writes it to a file. Errors: of opening and writing.
  Status write_json(const std::string& path, const ClientStats& client) const;
};

}  // namespace membroker::external_sort
