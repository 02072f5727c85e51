#pragma once

#include <cstdint>

#include "shared/bytes.h"

/// \file
/// Blocks mapped one by one: their pages are the kernel's again when unmap returns.

namespace membroker::memory {

/// Null if the kernel has none. `alignment` is a power of two. Zero-filled.
std::uint8_t* map_block(Bytes size, Bytes alignment) noexcept;

/// `size` as given to map_block or remap_block.
void unmap_block(std::uint8_t* block, Bytes size) noexcept;

/// Changes the size keeping the bytes, perhaps at another address that is a multiple of the page
/// size only. Null if the kernel refuses; then the block is as it was.
std::uint8_t* remap_block(std::uint8_t* block, Bytes old_size, Bytes new_size) noexcept;

Bytes page_size() noexcept;

}  // namespace membroker::memory
