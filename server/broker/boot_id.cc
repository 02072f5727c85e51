#include "server/broker/boot_id.h"

#include "server/broker/small_file.h"

namespace membroker::broker {

Result<std::string> boot_id() {
  constexpr std::size_t kLength = 36;
  const std::string path = "/proc/sys/kernel/random/boot_id";
  auto text = read_small_file(path, 64);
  if (!text) return text;
  if (text->size() < kLength) {
    return fail(ErrorCode::kIo, path + " holds \"" + *text + "\", which is no boot id");
  }
  text->resize(kLength);
  return text;
}

}  // namespace membroker::broker
