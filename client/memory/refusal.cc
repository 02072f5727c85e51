#include "client/memory/refusal.h"

#include <algorithm>
#include <utility>

#include "shared/format.h"

namespace membroker::detail {

std::string readable_size(Bytes bytes) {
  static constexpr const char* kUnits[] = {"B", "KB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  auto value = static_cast<double>(bytes);
  double limit = 2;
  while (unit + 1 < std::size(kUnits) && std::abs(value) >= limit * 1024) {
    value /= 1024;
    ++unit;
  }
  return strf("%.1f %s", value, kUnits[unit]);
}

std::string top_lines(const std::vector<ConsumerMetrics>& consumers, std::size_t k) {
  std::vector<const ConsumerMetrics*> order;
  for (const ConsumerMetrics& consumer : consumers) order.push_back(&consumer);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->reserved_bytes > b->reserved_bytes;
  });
  if (order.size() > k) order.resize(k);
  std::string lines;
  for (const ConsumerMetrics* consumer : order) {
    if (!lines.empty()) lines += '\n';
    lines +=
        strf("  %s#%llu(can spill: %s) reserved %s, peak %s", consumer->name.c_str(),
             static_cast<unsigned long long>(consumer->id), consumer->can_spill ? "true" : "false",
             readable_size(consumer->reserved_bytes).c_str(),
             readable_size(consumer->peak_bytes).c_str());
  }
  return lines;
}

Error refusal(const RefusalWords& words, const Error* cause) {
  std::string text;
  if (words.acquiring) {
    text = strf("Unable to acquire %lld bytes of memory, got %lld: ",
                static_cast<long long>(words.asked), static_cast<long long>(words.available));
  }
  text += strf("cannot reserve %s for %s, which holds %s; %s available in %s",
               readable_size(words.asked).c_str(), words.consumer.c_str(),
               readable_size(words.holds).c_str(), readable_size(words.available).c_str(),
               words.pool.c_str());
  if (!words.reason.empty()) text += " (" + words.reason + ")";
  if (cause != nullptr && cause->message() != words.reason) text += "; " + cause->message();
  if (!words.spill_error.empty()) text += "; spilling failed: " + words.spill_error;

  Denial denial;
  if (cause != nullptr && cause->denial() != nullptr) denial = *cause->denial();
  const std::vector<HolderUse> remote = std::exchange(denial.holders, {});
  for (const ConsumerMetrics& consumer : words.consumers) {
    if (denial.holders.size() == RefusalWords::kHoldersMax || consumer.reserved_bytes == 0) break;
    denial.holders.push_back({consumer.name, consumer.reserved_bytes, consumer.can_spill});
  }
  if (!denial.holders.empty()) {
    text += "; largest here:";
    for (const HolderUse& holder : denial.holders) {
      text += strf(" %s %s%s,", holder.name.c_str(), readable_size(holder.held_bytes).c_str(),
                   holder.can_spill ? " (can spill)" : "");
    }
    text.pop_back();
  }
  denial.holders.insert(denial.holders.end(), remote.begin(), remote.end());
  std::stable_sort(denial.holders.begin(), denial.holders.end(),
                   [](const auto& a, const auto& b) { return a.held_bytes > b.held_bytes; });
  denial.requested_bytes = words.asked;
  denial.available_bytes = words.available;
  denial.pool = words.pool_name;
  if (denial.reason.empty()) denial.reason = words.reason;
  if (denial.hint == DenialHint::kNone && cause == nullptr && words.consumer_can_spill &&
      words.holds > 0) {
    denial.hint = DenialHint::kSpill;
    denial.self_spill_bytes =
        std::min(words.holds, std::max<Bytes>(0, words.asked - words.available));
  }
  return Error(ErrorCode::kResourcesExhausted, std::move(text), std::move(denial));
}

Error with_top(const Error& error, const std::vector<ConsumerMetrics>& consumers, std::size_t k) {
  std::string text = error.message() + "\ntop consumers:\n" + top_lines(consumers, k);
  if (error.denial() == nullptr) return Error(error.code(), std::move(text));
  return Error(error.code(), std::move(text), *error.denial());
}

}  // namespace membroker::detail
