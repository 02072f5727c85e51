#pragma once

#include <optional>
#include <string>

#include "server/arbiter/arbiter.h"

/// \file
/// Predicts the answer to an Acquire from the figures before it, by the text of section 2 and 3 and
/// with none of the core's own code: the reason of a refusal at once, and a grant where nobody else
/// waits. Where others wait, Judge looks at what was answered, in the state it was answered in.

namespace membroker::sim {

class Answers {
 public:
  explicit Answers(const arbiter::Arbiter& arbiter) : arbiter_(arbiter) {}

  /// Before an event is applied. `waits`: how many requests wait, in all.
  /// True if it foresees an answer.
  struct Known {
    bool replay = false;
    bool draining = false;
  };
  bool before(Instant now, const arbiter::Event* event, std::size_t waits, const Known& known);
  /// After it; returns how the answer differs from the predicted one, or nothing.
  std::string after(const arbiter::Effects& effects) const;

 private:
  struct Denial {
    arbiter::DenyReason reason = arbiter::DenyReason::kInvalid;
    arbiter::Hint hint = arbiter::Hint::kNone;
    Bytes self_spill = 0;
    Bytes attainable = 0;
  };
  std::optional<Denial> refusal(const arbiter::Acquire& acquire, bool draining) const;

  const arbiter::Arbiter& arbiter_;
  bool predicts_ = false;
  bool silent_ = false;  // a replay
  arbiter::Acquire acquire_;
  std::optional<Denial> denial_;
  std::optional<Bytes> grant_;
  bool must_fail_ = false;  // it cannot wait, and there is less than it needs
};

}  // namespace membroker::sim
