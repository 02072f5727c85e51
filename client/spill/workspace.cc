#include "client/spill/workspace.h"

#include <unistd.h>

#include <algorithm>

#include "client/spill/format.h"
#include "shared/format.h"

namespace membroker {
namespace spill {
namespace {

// Sixteen blocks keep a disk busy; blocks of less than 256 KiB cost more in requests than they
// gain, and a codec must fit into one.
constexpr Bytes kBlocksWanted = 16;
constexpr Bytes kBlockBytesMin = 256 * kKiB;
constexpr Bytes kBlockBytesMax = kMiB;

}  // namespace

Block::~Block() {
  if (data_ != nullptr) from_->give_back(data_);
}

Result<std::shared_ptr<Workspace>> Workspace::make(SpillWorkspaceOptions options) {
  if (options.bytes < kSpillWorkspaceBytesMin) {
    return fail(ErrorCode::kInvalid, strf("a spill workspace of %s is too small: at least %s",
                                          format_bytes(options.bytes).c_str(),
                                          format_bytes(kSpillWorkspaceBytesMin).c_str()));
  }
  if (!options.allocator) options.allocator = system_allocator();
  auto memory = allocate_buffer(options.bytes, options.allocator, kDirectBytes);
  if (!memory) return fail(memory.error());
  const Bytes block = std::clamp(options.bytes / kBlocksWanted, kBlockBytesMin, kBlockBytesMax) &
                      ~(kDirectBytes - 1);
  return std::make_shared<Workspace>(std::move(*memory), std::move(options.allocator), block,
                                     options.io_uring);
}

Workspace::Workspace(MutableBuffer memory, std::shared_ptr<BufferAllocator> payer, Bytes block_size,
                     bool io_uring)
    : payer_(std::move(payer)),
      memory_(std::move(memory)),
      block_size_(block_size),
      pid_(::getpid()),
      engine_(io_uring) {
  for (Bytes at = 0; at + block_size_ <= memory_.size(); at += block_size_) {
    free_.push_back(memory_.data() + at);
  }
  codec_blocks_left_ = std::max<std::size_t>(1, free_.size() / 4);
}

bool Workspace::forked() const noexcept { return ::getpid() != pid_; }

Block Workspace::take_block() {
  std::unique_lock lock(mutex_);
  block_free_.wait(lock, [&] { return !free_.empty(); });
  std::uint8_t* data = free_.back();
  free_.pop_back();
  return Block(shared_from_this(), data);
}

void Workspace::begin_codec() {
  std::unique_lock lock(mutex_);
  block_free_.wait(lock, [&] { return codec_blocks_left_ > 0; });
  --codec_blocks_left_;
}

void Workspace::end_codec() noexcept {
  {
    const std::lock_guard lock(mutex_);
    ++codec_blocks_left_;
  }
  block_free_.notify_all();
}

void Workspace::give_back(std::uint8_t* block) noexcept {
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(block);
  }
  block_free_.notify_all();
}

CodecBlock::CodecBlock(std::shared_ptr<Workspace> workspace) : workspace_(std::move(workspace)) {
  workspace_->begin_codec();
  block_ = workspace_->take_block();
}

CodecBlock::~CodecBlock() {
  block_ = Block();
  workspace_->end_codec();
}

}  // namespace spill

Result<std::shared_ptr<SpillWorkspace>> SpillWorkspace::create(SpillWorkspaceOptions options) {
  auto made = spill::Workspace::make(std::move(options));
  if (!made) return fail(made.error());
  return std::shared_ptr<SpillWorkspace>(std::move(*made));
}

}  // namespace membroker
