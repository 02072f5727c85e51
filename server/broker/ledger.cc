#include "server/broker/ledger.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "server/broker/boot_id.h"
#include "server/broker/ledger_file.h"
#include "shared/check.h"
#include "shared/fd.h"
#include "shared/format.h"

namespace membroker::broker {
namespace file = ledger_file;

struct Ledger::Impl {
  UniqueFd fd;  // holds the lock
  std::byte* map = nullptr;
  std::size_t map_bytes = 0;
  std::size_t slots = 0;
  std::vector<std::size_t> free_slots;  // the lowest is last
  bool lost = false;

  ~Impl() {
    if (map != nullptr) ::munmap(map, map_bytes);
  }
  file::Header& header() { return *reinterpret_cast<file::Header*>(map); }
  file::Slot& slot(std::size_t number) {
    return *reinterpret_cast<file::Slot*>(map + file::file_bytes(number));
  }
};

namespace {

constexpr std::size_t kSlotsMax = std::size_t{1} << 20;

Result<std::size_t> file_size(int fd, const std::string& path) {
  struct stat about {};
  if (::fstat(fd, &about) != 0) return fail(errno_error("stat the ledger " + path, errno));
  return static_cast<std::size_t>(about.st_size);
}

// The slots the file already holds for this boot; 0 if it is to be begun anew.
struct Found {
  std::size_t slots = 0;
  bool empty = false;
  bool other_boot = false;
};

Result<Found> look(int fd, const std::string& path, const file::BootId& boot_id) {
  const auto size = file_size(fd, path);
  if (!size) return fail(size.error());
  Found found;
  found.empty = *size == 0;
  if (*size < file::kHeaderBytes) return found;
  file::Header header{};
  const ssize_t got = ::pread(fd, &header, sizeof header, 0);
  if (got < 0) return fail(errno_error("read the ledger " + path, errno));
  if (got != static_cast<ssize_t>(sizeof header)) return found;
  const auto state = file::check_header(header, boot_id);
  found.other_boot = state == file::HeaderState::kOtherBoot;
  const bool whole = header.slots <= kSlotsMax && *size >= file::file_bytes(header.slots);
  if (state == file::HeaderState::kGood && whole) found.slots = header.slots;
  return found;
}

}  // namespace

Ledger::Ledger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ledger::Ledger(Ledger&&) noexcept = default;
Ledger& Ledger::operator=(Ledger&&) noexcept = default;
Ledger::~Ledger() = default;

Result<UniqueFd> Ledger::lock(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail(errno_error("open the ledger " + path, errno));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return fail(ErrorCode::kUnavailable,
                  "the ledger " + path +
                      " is in use by another membrokerd; stop it, or give this one its own "
                      "runtime_directory");
    }
    return fail(errno_error("lock the ledger " + path, errno));
  }
  struct stat about {};
  if (::fstat(fd.get(), &about) != 0) return fail(errno_error("stat the ledger " + path, errno));
  if (!S_ISREG(about.st_mode)) {
    return fail(ErrorCode::kInvalid, "the ledger " + path + " is not a regular file; remove it");
  }
  return fd;
}

Result<Ledger> Ledger::open(const std::string& path, std::size_t slots, bool expected) {
  auto locked = lock(path);
  if (!locked) return fail(locked.error());
  return open(std::move(*locked), path, slots, expected);
}

Result<Ledger> Ledger::open(UniqueFd locked, const std::string& path, std::size_t slots,
                            bool expected) {
  if (slots == 0 || slots > kSlotsMax) {
    return fail(ErrorCode::kInvalid,
                strf("a ledger of %zu slots cannot be made; 1 to %zu can", slots, kSlotsMax));
  }
  const auto boot_text = boot_id();
  if (!boot_text) return fail(boot_text.error());
  file::BootId boot{};
  std::copy_n(boot_text->data(), std::min(boot_text->size(), boot.size()), boot.data());
  const auto found = look(locked.get(), path, boot);
  if (!found) return fail(found.error());

  auto impl = std::make_unique<Impl>();
  impl->slots = std::max(slots, found->slots);
  impl->map_bytes = file::file_bytes(impl->slots);
  impl->lost = found->slots == 0 && (expected || (!found->empty && !found->other_boot));
  if (found->slots == 0 && ::ftruncate(locked.get(), 0) != 0) {
    return fail(errno_error("empty the ledger " + path, errno));
  }
  // All space now: a full file system under a mapping is SIGBUS later.
  const int error = ::posix_fallocate(locked.get(), 0, static_cast<off_t>(impl->map_bytes));
  if (error != 0) {
    return fail(errno_error(
        strf("allocate %zu bytes for the ledger %s", impl->map_bytes, path.c_str()), error));
  }
  void* map = ::mmap(nullptr, impl->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, locked.get(), 0);
  if (map == MAP_FAILED) return fail(errno_error("map the ledger " + path, errno));
  impl->map = static_cast<std::byte*>(map);
  impl->fd = std::move(locked);
  if (found->slots == 0) file::write_header(impl->header(), boot, impl->slots);
  impl->header().slots = impl->slots;

  for (std::size_t i = impl->slots; i-- > 0;) {
    file::Slot& slot = impl->slot(i);
    if (file::slot_valid(slot) && !file::read_slot(slot, i)) {
      // Somebody's bytes are no longer known; the readable slots still are.
      file::clear_slot(slot);
      impl->lost = true;
    }
    if (!file::slot_valid(slot)) impl->free_slots.push_back(i);
  }
  return Ledger(std::move(impl));
}

bool Ledger::lost() const { return impl_->lost; }

std::vector<LedgerEntry> Ledger::entries() const {
  std::vector<LedgerEntry> result;
  for (std::size_t i = 0; i < impl_->slots; ++i) {
    const file::Slot& slot = impl_->slot(i);
    if (!file::slot_valid(slot)) continue;
    if (auto entry = file::read_slot(slot, i)) result.push_back(std::move(*entry));
  }
  return result;
}

Result<std::size_t> Ledger::claim(const LedgerIdentity& identity, const LedgerTotals& totals) {
  if (identity.tenant.size() > file::kTenantMax || identity.resource.size() > file::kNameMax) {
    return fail(
        ErrorCode::kInvalid,
        strf("tenant \"%s\" or resource \"%s\" is too long for the ledger (at most %zu and "
             "%zu bytes)",
             identity.tenant.c_str(), identity.resource.c_str(), file::kTenantMax, file::kNameMax));
  }
  if (impl_->free_slots.empty()) {
    return fail(
        ErrorCode::kResourcesExhausted,
        strf("all %zu slots of the ledger are taken; raise limits.sessions_max", impl_->slots));
  }
  const std::size_t number = impl_->free_slots.back();
  impl_->free_slots.pop_back();
  file::write_slot(impl_->slot(number), identity, totals);
  return number;
}

void Ledger::store(std::size_t slot, const LedgerTotals& totals) {
  MB_CHECK(slot < impl_->slots);
  file::write_totals(impl_->slot(slot), totals);
}

void Ledger::release(std::size_t slot) {
  MB_CHECK(slot < impl_->slots);
  MB_CHECK(file::slot_valid(impl_->slot(slot)));
  file::clear_slot(impl_->slot(slot));
  impl_->free_slots.push_back(slot);
}

}  // namespace membroker::broker
