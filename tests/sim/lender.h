#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/arbiter/events.h"
#include "tests/sim/workload.h"

/// \file
/// Who lends the memory of a workload: the arbiter under one of its policies, or one of the ways
/// that others divide memory, for comparison. All speak the arbiter's events and effects.

namespace membroker::sim {

class Lender {
 public:
  virtual ~Lender() = default;

  virtual void apply(Instant now, const arbiter::Event& event, arbiter::Effects& effects) = 0;
  virtual void expire(Instant now, arbiter::Effects& effects) = 0;
  virtual Instant next_deadline() const = 0;
  /// After spilling for a refused request a job gives its memory back and asks anew.
  virtual bool takes_back_after_spill() const = 0;
  /// The first broken invariant, if it looks for them; else nothing.
  virtual std::string complaint() const { return {}; }
};

inline constexpr std::array<std::string_view, 5> kLenders = {"fair", "greedy", "static_split",
                                                             "equal_split", "task_fair"};

/// `name` is one of kLenders. `checked`: invariants are looked at after each event, where the
/// lender is the arbiter.
std::unique_ptr<Lender> make_lender(std::string_view name, const Workload& workload, bool checked);

}  // namespace membroker::sim
