#pragma once

#include <string>
#include <string_view>

#include "server/app/config.h"

/// \file
/// The daemon's log: one line per event on stderr, as spdlog's default logger. Code writes
/// `spdlog::info("session_gone session={} why={}", …)`: an event, then key=value, texts quoted
/// where they need it.
///
///     time=2026-05-20T07:29:33.123Z level=info event=session_gone session=7 why=exited
///     {"time":"2026-05-20T07:29:33.123Z","level":"info","event":"session_gone","session":7,…}

namespace membroker::app {

/// Makes stderr, in `format` and from `level` up, the default logger, and sends gRPC's own messages
/// there. Call before other threads run; may be called again.
void set_up_log(const std::string& level, LogFormat format);

/// "event key=value key="some text"" as the members of a JSON object, without the braces. What is
/// not of that form goes into "text".
std::string json_members(std::string_view payload);

/// The text with everything that would break the line replaced by "?".
std::string one_line(std::string_view text);

}  // namespace membroker::app
