#include "shared/utf8.h"

#include <algorithm>

namespace membroker {
namespace {

constexpr std::size_t kCharacterBytesMax = 4;

bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

/// Of the character that begins so.
std::size_t character_bytes(char first) {
  const auto byte = static_cast<unsigned char>(first);
  if (byte >= 0xf0) return 4;
  if (byte >= 0xe0) return 3;
  return byte >= 0xc0 ? 2 : 1;
}

}  // namespace

std::string_view cut_text(std::string_view text, std::size_t bytes_max) {
  text = text.substr(0, bytes_max);
  const std::size_t tail_max = std::min(text.size(), kCharacterBytesMax);
  for (std::size_t tail = 1; tail <= tail_max; ++tail) {
    const char byte = text[text.size() - tail];
    if (continues(byte)) continue;
    if (character_bytes(byte) > tail) text.remove_suffix(tail);
    break;
  }
  return text;
}

}  // namespace membroker
