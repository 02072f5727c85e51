#pragma once

#include <cstddef>
#include <deque>
#include <string>

#include "membroker/v1/session.pb.h"
#include "shared/time.h"

namespace membroker::broker {

/// What one session is still to be told, beside the flags of its leases. State, not a queue: a
/// peer that does not read costs a bounded amount, because everything but the answers to its own
/// open requests is a flag whose text is composed when it leaves. The answers are bounded too: a
/// peer that asks on and on without reading loses its stream, never its bytes.
///
/// Thread: the broker's.
struct Outbox {
  /// More unread answers than that end the stream.
  static constexpr std::size_t kAnswersMax = 256;

  bool welcome = false;
  bool resumed = false;  // in Welcome
  bool pulse = false;
  v1::DrainMode draining = v1::DRAIN_MODE_UNSPECIFIED;
  Millis draining_grace = 0;
  std::string fenced;                     // the reason; empty: nothing to tell
  std::deque<v1::ServerMessage> answers;  // Granted and Denied, oldest first

  bool overflown() const { return answers.size() > kAnswersMax; }
  /// Forgets what was meant for a stream that is lost.
  void clear();
  /// Moves as much as fits into the frame of at most `messages_max`: Welcome is the caller's.
  void take_answers(v1::ServerFrame* frame, int messages_max);
};

}  // namespace membroker::broker
