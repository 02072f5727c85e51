// Any bytes as the ledger's file: never a crash, and whatever is read back is within its bounds.
// The header's checksum is made right in half of the inputs, so that slots are reached.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "server/broker/boot_id.h"
#include "server/broker/ledger.h"
#include "server/broker/ledger_file.h"
#include "shared/check.h"
#include "shared/fd.h"
#include "shared/format.h"

namespace {

using namespace membroker;          // NOLINT: a program of its own
using namespace membroker::broker;  // NOLINT

constexpr std::size_t kSlots = 4;

void write_file(const std::string& path, const std::vector<std::uint8_t>& bytes) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  MB_CHECK(fd);
  MB_CHECK(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

// Header of this boot, then slots from the input, valid by their checksum where its first bit says.
std::vector<std::uint8_t> with_header(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> bytes(ledger_file::file_bytes(kSlots));
  const std::string boot = boot_id().value();
  ledger_file::BootId id{};
  std::copy_n(boot.data(), id.size(), id.data());
  ledger_file::write_header(*reinterpret_cast<ledger_file::Header*>(bytes.data()), id, kSlots);
  std::copy_n(data, std::min(size, bytes.size() - ledger_file::kHeaderBytes),
              bytes.data() + ledger_file::kHeaderBytes);
  for (std::size_t i = 0; i < kSlots; ++i) {
    auto& slot = *reinterpret_cast<ledger_file::Slot*>(bytes.data() + ledger_file::file_bytes(i));
    if ((slot.state & 1) != 0) slot.state = ledger_file::kSlotValid;
    if ((slot.checksum & 1) != 0) slot.checksum = ledger_file::identity_checksum(slot.identity);
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string path = strf("/dev/shm/membroker-ledger-fuzz-%d", ::getpid());
  const bool raw = (data[0] & 1) != 0;
  write_file(path, raw ? std::vector<std::uint8_t>(data + 1, data + size)
                       : with_header(data + 1, size - 1));
  {
    auto ledger = Ledger::open(path, kSlots, false);
    MB_CHECK(ledger.has_value());
    for (const LedgerEntry& entry : ledger->entries()) {
      MB_CHECK(entry.totals.held() >= 0);
      MB_CHECK(entry.identity.tenant.size() <= ledger_file::kTenantMax);
      MB_CHECK(entry.identity.resource.size() <= ledger_file::kNameMax);
      ledger->release(entry.slot);
    }
    MB_CHECK(ledger->entries().empty());
    MB_CHECK(ledger->claim({}, {}).has_value());
  }
  ::unlink(path.c_str());
  return 0;
}
