#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "membroker/error.h"
#include "shared/bytes.h"
#include "shared/time.h"

/// \file
/// Text for people: colours, widths, sizes and times. Pure functions.

namespace membroker::cli {

enum class Style { kPlain, kBold, kDim, kGood, kWarn, kBad, kWait };

/// `text` in the style's colour; unchanged without `colour` or for kPlain.
std::string paint(std::string_view text, Style style, bool colour);

/// Names come from clients: control bytes (so also escape sequences) and malformed UTF-8 become
/// '?', so that no peer can draw on an operator's terminal.
std::string clean(std::string_view text);

/// Columns a cleaned text takes: its code points. (Double-width glyphs are counted once.)
std::size_t columns(std::string_view text);

/// The first `width` columns of a cleaned text; the last one is '~' if something was cut.
std::string cut(std::string_view text, std::size_t width);

/// "none" for a limit that is not set, else a size.
std::string format_limit(Bytes limit);

/// "350 ms", "4.2 s", "3m05s", "1h02m", "3d04h".
std::string format_duration(Millis ms);

/// Reads "500ms", "2s", "5m", "2h", "7d" or "0.5" (seconds), between `least` and `most`.
Result<Millis> parse_duration(std::string_view text, Millis least, Millis most);

/// "2026-05-20 07:29" of a wall time in milliseconds since 1970, as the clock here shows it.
std::string local_minute(std::int64_t wall_ms);

/// Reads a time: "2026-05-20", "2026-05-20 07:29" or "2026-05-20T07:29:33", of the clock here or,
/// with a Z at its end, of UTC; or "2h": so long before `now_ms`. In milliseconds since 1970.
Result<std::int64_t> parse_time(std::string_view text, std::int64_t now_ms);

}  // namespace membroker::cli
