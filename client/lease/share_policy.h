#pragma once

#include <memory>

#include "client/lease/shard_book.h"

/// \file
/// How the consumers of one process share its pool.

namespace membroker::lease {

class SharePolicy {
 public:
  virtual ~SharePolicy() = default;
  /// Most that `account` may be charged, of a pool of `size`, while the others hold what they do.
  virtual Bytes share(const ShardAccount& account, const BookSums& sums, Bytes size) const = 0;
  /// Bytes the account may still wait for before its side has to spill for more.
  virtual Bytes guaranteed(const ShardAccount&, const BookSums&, Bytes) const { return 0; }
  /// True: another's unused credit can put it past its share after this growth; take it first.
  virtual bool moves_shares(const ShardAccount& account) const = 0;
};

/// First come, first served.
class GreedyPolicy final : public SharePolicy {
 public:
  Bytes share(const ShardAccount& account, const BookSums& sums, Bytes size) const override;
  bool moves_shares(const ShardAccount& account) const override;
};

/// What the unspillable leave, in equal parts to the spillable that hold or want something.
class FairSpillPolicy final : public SharePolicy {
 public:
  Bytes share(const ShardAccount& account, const BookSums& sums, Bytes size) const override;
  bool moves_shares(const ShardAccount& account) const override;
};

/// Between N tasks that hold or want something: at most 1/N each, 1/2N without spilling.
class TaskFairPolicy final : public SharePolicy {
 public:
  Bytes share(const ShardAccount& account, const BookSums& sums, Bytes size) const override;
  Bytes guaranteed(const ShardAccount& account, const BookSums& sums, Bytes size) const override;
  bool moves_shares(const ShardAccount& account) const override;
};

}  // namespace membroker::lease
