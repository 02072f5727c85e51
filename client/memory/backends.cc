#include <dlfcn.h>
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "client/memory/large_block.h"
#include "membroker/allocator.h"
#include "shared/format.h"

/// \file
/// The allocators that ask a heap: small blocks from it, large ones mapped.

namespace membroker {
namespace {

struct Heap {
  const char* name = "";
  void* (*allocate)(std::size_t size, std::size_t alignment) = nullptr;
  void (*free)(void* block) = nullptr;
  void (*release_unused)() = nullptr;
};

Error out_of_memory(const char* backend, std::int64_t size) {
  return Error(ErrorCode::kOutOfMemory,
               strf("%s has no %lld bytes", backend, static_cast<long long>(size)));
}

// Thread-safe, as heaps are.
class HeapAllocator final : public BufferAllocator {
 public:
  explicit HeapAllocator(Heap heap) : heap_(heap) {}

  void release_unused() noexcept override { heap_.release_unused(); }
  std::string_view backend_name() const noexcept override { return heap_.name; }

 private:
  Result<std::uint8_t*> do_allocate(std::int64_t size, std::int64_t alignment) override {
    std::uint8_t* block = take(size, alignment);
    if (block == nullptr) return fail(out_of_memory(heap_.name, size));
    return block;
  }

  Result<std::uint8_t*> do_reallocate(std::uint8_t* block, std::int64_t old_size,
                                      std::int64_t new_size, std::int64_t alignment) override {
    const bool both_large = old_size >= kLargeBlockBytes && new_size >= kLargeBlockBytes;
    if (both_large && alignment <= memory::page_size()) {
      std::uint8_t* moved = memory::remap_block(block, old_size, new_size);
      if (moved == nullptr) return fail(out_of_memory(heap_.name, new_size));
      return moved;
    }
    std::uint8_t* moved = take(new_size, alignment);
    if (moved == nullptr) return fail(out_of_memory(heap_.name, new_size));
    std::memcpy(moved, block, static_cast<std::size_t>(std::min(old_size, new_size)));
    do_free(block, old_size, alignment);
    return moved;
  }

  void do_free(std::uint8_t* block, std::int64_t size, std::int64_t) noexcept override {
    if (size >= kLargeBlockBytes) {
      memory::unmap_block(block, size);
    } else {
      heap_.free(block);
    }
  }

  std::uint8_t* take(std::int64_t size, std::int64_t alignment) noexcept {
    if (size >= kLargeBlockBytes) return memory::map_block(size, alignment);
    void* block =
        heap_.allocate(static_cast<std::size_t>(size), static_cast<std::size_t>(alignment));
    return static_cast<std::uint8_t*>(block);
  }

  const Heap heap_;
};

void* system_allocate(std::size_t size, std::size_t alignment) {
  void* block = nullptr;
  return ::posix_memalign(&block, alignment, size) == 0 ? block : nullptr;
}

void (*mimalloc_collect)(bool force) = nullptr;

// Debian's libmimalloc exports malloc itself. Linked against, it would take over the malloc of
// every program that uses this library; loaded with RTLD_LOCAL it is a heap of its own.
Result<std::shared_ptr<BufferAllocator>> load_mimalloc() {
  void* library = ::dlopen("libmimalloc.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = ::dlerror();
    return fail(ErrorCode::kUnsupported, strf("cannot load libmimalloc.so.2 (package "
                                              "libmimalloc2.0): %s",
                                              why != nullptr ? why : "unknown reason"));
  }
  Heap heap{.name = "mimalloc"};
  heap.allocate = reinterpret_cast<decltype(heap.allocate)>(::dlsym(library, "mi_malloc_aligned"));
  heap.free = reinterpret_cast<decltype(heap.free)>(::dlsym(library, "mi_free"));
  mimalloc_collect = reinterpret_cast<decltype(mimalloc_collect)>(::dlsym(library, "mi_collect"));
  heap.release_unused = [] { mimalloc_collect(true); };
  if (heap.allocate == nullptr || heap.free == nullptr || mimalloc_collect == nullptr) {
    return fail(ErrorCode::kUnsupported,
                "libmimalloc.so.2 lacks mi_malloc_aligned, mi_free or "
                "mi_collect");
  }
  return std::make_shared<HeapAllocator>(heap);  // the library stays loaded: blocks may outlive all
}

}  // namespace

std::shared_ptr<BufferAllocator> system_allocator() {
  static const std::shared_ptr<BufferAllocator> allocator = std::make_shared<HeapAllocator>(Heap{
      "system", system_allocate, [](void* block) { std::free(block); }, [] { ::malloc_trim(0); }});
  return allocator;
}

Result<std::shared_ptr<BufferAllocator>> mimalloc_allocator() {
  static const Result<std::shared_ptr<BufferAllocator>> loaded = load_mimalloc();
  return loaded;
}

std::vector<std::string> supported_backends() {
  if (mimalloc_allocator()) return {"mimalloc", "system"};
  return {"system"};
}

}  // namespace membroker
