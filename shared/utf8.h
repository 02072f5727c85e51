#pragma once

#include <cstddef>
#include <string_view>

namespace membroker {

/// The longest start of UTF-8 text that has at most `bytes_max` bytes and ends with a whole
/// character; a part of one at the end of `text` is left out, too. Protobuf refuses a message with
/// a part of a character in a string.
std::string_view cut_text(std::string_view text, std::size_t bytes_max);

}  // namespace membroker
