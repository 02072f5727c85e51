#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <utility>

#include "client/memory/consumer_state.h"
#include "client/memory/pool_core.h"
#include "membroker/memory_pool.h"
#include "shared/bytes.h"
#include "shared/format.h"

namespace membroker {

using detail::ConsumerState;
using detail::PoolAccess;

namespace {

// allocate_page() waits at most this long.
constexpr std::chrono::seconds kPageWait{5};
constexpr std::size_t kPageAlignment = 64;
// From here pages are mapped, so that freeing them gives them to the kernel at once.
constexpr Bytes kMappedMin = kMiB;

std::atomic<std::uint64_t> last_consumer_id{0};

void* allocate_memory(Bytes bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  if (bytes < kMappedMin) {
    return std::aligned_alloc(kPageAlignment, (size + kPageAlignment - 1) & ~(kPageAlignment - 1));
  }
  void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mapped == MAP_FAILED ? nullptr : mapped;
}

void free_memory(void* data, Bytes bytes) {
  if (bytes < kMappedMin) {
    std::free(data);
  } else {
    ::munmap(data, static_cast<std::size_t>(bytes));
  }
}

void count_page(const MemoryReservation& charge, Bytes change) {
  detail::PoolCore* const payer = PoolAccess::state(charge)->payer;
  if (payer != nullptr) payer->count_allocated(change);
}

}  // namespace

MemoryConsumer::MemoryConsumer(std::string name) : state_(std::make_shared<ConsumerState>()) {
  state_->name = std::move(name);
  state_->id = ++last_consumer_id;
}

MemoryConsumer& MemoryConsumer::with_can_spill(bool can_spill) {
  if (!state_->registered.load()) state_->can_spill = can_spill;
  return *this;
}

MemoryConsumer& MemoryConsumer::with_spill(SpillFunction spill) {
  if (state_->registered.load()) return *this;
  state_->can_spill = true;
  state_->spill = std::move(spill);
  return *this;
}

MemoryConsumer& MemoryConsumer::with_spill_priority(std::int32_t priority) {
  if (!state_->registered.load()) state_->spill_priority = priority;
  return *this;
}

MemoryConsumer& MemoryConsumer::with_page_size(std::int64_t bytes) {
  if (!state_->registered.load() && bytes > 0) state_->page_size = bytes;
  return *this;
}

MemoryReservation MemoryConsumer::register_with(const std::shared_ptr<MemoryPool>& pool) {
  if (!state_->begin_registration()) return clone_with_new_id().register_with(pool);
  pool->register_consumer(*this);
  return PoolAccess::make(state_, pool);
}

const std::string& MemoryConsumer::name() const noexcept { return state_->name; }
std::uint64_t MemoryConsumer::id() const noexcept { return state_->id; }
bool MemoryConsumer::can_spill() const noexcept { return state_->can_spill; }
std::int32_t MemoryConsumer::spill_priority() const noexcept { return state_->spill_priority; }
std::int64_t MemoryConsumer::used() const noexcept { return state_->used(); }
std::int64_t MemoryConsumer::peak() const noexcept { return state_->peak(); }
void MemoryConsumer::reset_peak() noexcept { state_->reset_peak(); }

MemoryConsumer MemoryConsumer::clone_with_new_id() const {
  MemoryConsumer clone(state_->name);
  clone.state_->can_spill = state_->can_spill.load();
  clone.state_->spill = state_->spill;
  clone.state_->spill_priority = state_->spill_priority;
  clone.state_->page_size = state_->page_size;
  return clone;
}

Result<std::int64_t> MemoryConsumer::spill(std::int64_t bytes) {
  if (bytes < 0) return fail(detail::invalid_size("spill", bytes));
  if (!state_->spill) {
    return fail(ErrorCode::kUnsupported, "consumer '" + name() + "' has no spill call-back");
  }
  const detail::SpillClaim claim(state_);
  if (!claim) {
    return fail(ErrorCode::kResourcesExhausted, "consumer '" + name() + "' is spilling already");
  }
  detail::PoolCore* core = nullptr;
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->reservations.empty()) core = state_->reservations.front()->core;
  }
  // Its pool sends every call the slow way meanwhile, so that growing is refused in the call-back.
  const auto held = core != nullptr ? core->shared_from_this() : nullptr;
  if (held != nullptr) held->cache().begin_spill();
  SpillRequest request;
  request.bytes = bytes;
  const std::int64_t freed = detail::run_spill(*state_, request);
  if (held != nullptr) held->cache().end_spill();
  const std::lock_guard lock(state_->mutex);
  if (!state_->spill_error.empty()) {
    return fail(ErrorCode::kResourcesExhausted,
                "spilling '" + name() + "' failed: " + state_->spill_error);
  }
  return freed;
}

Result<Page> MemoryConsumer::allocate_page(std::int64_t required) {
  if (required <= 0) return fail(detail::invalid_size("allocate_page", required));
  std::shared_ptr<MemoryPool> pool;
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->reservations.empty()) pool = state_->reservations.front()->pool;
  }
  if (pool == nullptr) {
    return fail(ErrorCode::kInvalid, "consumer '" + name() + "' is not registered with a pool");
  }
  // Each page has a reservation of its own; it ends when the page is freed.
  MemoryReservation charge = PoolAccess::make(state_, pool);
  const std::int64_t want = std::max(required, state_->page_size);
  auto got = charge.acquire(required, want, kPageWait, {0, true});
  if (!got) return fail(got.error());
  void* data = allocate_memory(*got);
  if (data == nullptr) {
    return fail(ErrorCode::kOutOfMemory,
                strf("the system has no %lld bytes for a page of '%s', although they are reserved",
                     static_cast<long long>(*got), name().c_str()));
  }
  count_page(charge, *got);
  const std::lock_guard lock(state_->mutex);
  state_->pages.emplace(data, std::move(charge));
  return Page{data, *got};
}

Result<Page> MemoryConsumer::allocate_array(std::int64_t elements) {
  const auto bytes = checked_mul(elements, 8);
  if (elements <= 0 || !bytes) return fail(detail::invalid_size("allocate_array", elements));
  return allocate_page(*bytes);
}

Status MemoryConsumer::free_page(const Page& page) {
  MemoryReservation charge;
  {
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->pages.find(page.data);
    if (found == state_->pages.end() || found->second.size() != page.bytes) {
      return fail(ErrorCode::kInvalid,
                  "the page is not one of '" + name() + "', or was freed before");
    }
    charge = std::move(found->second);
    state_->pages.erase(found);
  }
  free_memory(page.data, page.bytes);
  count_page(charge, -page.bytes);
  return {};
}

// ---- sections ----

NoSpillSection::NoSpillSection(const MemoryConsumer& consumer) noexcept
    : consumer_(PoolAccess::state(consumer)) {
  consumer_->no_spill_sections.fetch_add(1);
}

NoSpillSection::NoSpillSection(const MemoryReservation& reservation) noexcept
    : NoSpillSection(reservation.consumer()) {}

NoSpillSection::~NoSpillSection() { consumer_->no_spill_sections.fetch_sub(1); }

}  // namespace membroker
