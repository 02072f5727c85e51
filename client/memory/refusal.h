#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "membroker/memory_pool.h"
#include "shared/bytes.h"

/// \file
/// Sizes, lists of consumers and refusals in words.

namespace membroker::detail {

/// "2000.0 B", "2.0 KB": one decimal; the unit changes at twice the unit.
std::string readable_size(Bytes bytes);

/// One line per consumer, the k largest: "  sort#3(can spill: true) reserved 2.0 KB, peak 4.0 KB".
std::string top_lines(const std::vector<ConsumerMetrics>& consumers, std::size_t k);

struct RefusalWords {
  static constexpr std::size_t kHoldersMax = 5;  // named in it

  std::string consumer;
  bool consumer_can_spill = false;
  Bytes asked = 0;
  Bytes holds = 0;      // the consumer
  Bytes available = 0;  // to this consumer
  bool acquiring = false;
  std::string pool;  // describe()
  std::string pool_name;
  std::string reason;
  std::string spill_error;  // why a call-back failed
  std::vector<ConsumerMetrics> consumers;
};

/// kResourcesExhausted with its Denial. The daemon's word, if it was asked, joins the local one.
Error refusal(const RefusalWords& words, const Error* cause);

/// `error` with the lines of the k largest added to its message.
Error with_top(const Error& error, const std::vector<ConsumerMetrics>& consumers, std::size_t k);

}  // namespace membroker::detail
