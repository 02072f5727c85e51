#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "client/spill/io_engine.h"
#include "membroker/spill.h"
#include "shared/bytes.h"

/// \file
/// The prepaid memory of spilling: equal blocks, each owned by whoever took it until it is dropped.

namespace membroker::spill {

/// One block of a workspace, which it keeps alive. Move-only; empty when default-made or moved
/// from.
class Block {
 public:
  Block() = default;
  Block(std::shared_ptr<Workspace> from, std::uint8_t* data)
      : from_(std::move(from)), data_(data) {}
  Block(Block&& other) noexcept
      : from_(std::move(other.from_)), data_(std::exchange(other.data_, nullptr)) {}
  Block& operator=(Block&& other) noexcept {
    std::swap(from_, other.from_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Block();

  std::uint8_t* data() const noexcept { return data_; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

 private:
  std::shared_ptr<Workspace> from_;
  std::uint8_t* data_ = nullptr;
};

/// Thread-safe. Blocks wait only for blocks being written, never for a block someone fills: those
/// who hold one hold no second, but for a codec's, of which there are few.
class Workspace final : public SpillWorkspace, public std::enable_shared_from_this<Workspace> {
 public:
  static Result<std::shared_ptr<Workspace>> make(SpillWorkspaceOptions options);
  Workspace(MutableBuffer memory, std::shared_ptr<BufferAllocator> payer, Bytes block_size,
            bool io_uring);

  std::int64_t bytes() const noexcept override { return memory_.size(); }
  bool uses_io_uring() const noexcept override { return engine_.uses_io_uring(); }

  Bytes block_size() const noexcept { return block_size_; }
  IoEngine& engine() noexcept { return engine_; }
  /// What paid for it.
  BufferAllocator& payer() noexcept { return *payer_; }
  /// True in a child of the process that made this: its thread and ring are not here.
  bool forked() const noexcept;

  /// A block to fill and write. Waits until one is free.
  Block take_block();

 private:
  friend class Block;
  friend class CodecBlock;
  void begin_codec();
  void end_codec() noexcept;
  void give_back(std::uint8_t* block) noexcept;

  const std::shared_ptr<BufferAllocator> payer_;  // shared with others of the client
  MutableBuffer memory_;
  const Bytes block_size_;
  const pid_t pid_;

  std::mutex mutex_;
  std::condition_variable block_free_;
  std::vector<std::uint8_t*> free_;
  std::size_t codec_blocks_left_;

  mutable IoEngine engine_;  // last: its thread ends before the blocks go
};

/// A block to compress or decompress in, for the length of one batch. Making one waits until one is
/// free: hold no other block then. Blocks to write may be taken while it lives: there are never so
/// many of these that none would be left.
class CodecBlock {
 public:
  explicit CodecBlock(std::shared_ptr<Workspace> workspace);
  ~CodecBlock();
  CodecBlock(const CodecBlock&) = delete;
  CodecBlock& operator=(const CodecBlock&) = delete;

  std::span<std::uint8_t> memory() const noexcept {
    return {block_.data(), static_cast<std::size_t>(workspace_->block_size())};
  }

 private:
  const std::shared_ptr<Workspace> workspace_;
  Block block_;
};

}  // namespace membroker::spill
