#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "server/broker/peer.h"
#include "shared/bytes.h"
#include "shared/time.h"

/// \file
/// What ProcessWatch cannot tell of client processes: that one runs another program image by now
/// (exec), and which forked children it leaves behind, with how many of its pages.
///
/// A child is known from samples taken while its parent lives: when the parent has ended, nothing
/// in the kernel tells any more whose child it was. So a child forked since the last sample is not
/// known; one known once stays so, also where it is no direct child any more. A child that has
/// exec'ed has its own image and no page of its parent's: it is left out.
///
///     KinWatch kin({.on_exec = …, .on_measured = …});
///     kin.follow(peer);                  // from the first session on
///     auto left = kin.ended(peer);       // the process is no more: its children, at once
///     kin.measure(left[0].process);      // on_measured now and whenever it has changed
///
/// A sample lists /proc once for all processes and measures again what was measured before. Its own
/// thread takes one each second, and at most a twentieth of that thread's time. Between samples it
/// only measures, once each, what it has newly been told to.
///
/// Thread-safe; call-backs run on its thread and must only post.

namespace membroker::broker {

/// A forked descendant that runs its ancestor's image.
struct Kin {
  Peer process;
  // process_resident(): at least what it holds of its ancestor's pages. None: it could not be read.
  std::optional<Bytes> bytes = {};
  bool measurable = true;  // false: the daemon has no right to see its image and its share
};

/// process_share() of a process.
struct MeasuredShare {
  Peer process;
  Bytes bytes = 0;
};

struct KinOptions {
  Millis interval = 1'000;
  std::int64_t rest = 20;  // times the duration of a sample: the least pause after it
};

class KinWatch {
 public:
  struct Hooks {
    /// A followed process runs another image, `now`; `left` are the children that it had forked
    /// before. Told once for each exec that a sample finds.
    std::function<void(const Peer& was, std::uint64_t now, std::vector<Kin> left)> on_exec;
    /// Of those processes being measured whose share has changed; 0, once, of one that has ended.
    /// Nothing is told of another image.
    std::function<void(std::vector<MeasuredShare>)> on_measured;
  };
  /// Of one process; those beyond are left out.
  static constexpr std::size_t kKinMax = 256;

  explicit KinWatch(Hooks hooks, KinOptions options = {});
  ~KinWatch();  // stop()
  /// Ends the thread: no call-back runs any more. All else may still be called.
  void stop();

  /// Samples the process from now on; asked again, does nothing and returns false. `peer.image` is
  /// what later samples are compared with; where it is not known, the first sample's.
  bool follow(const Peer& peer);
  /// Ends that, and says whom the process leaves behind: those known that may still live. Costs a
  /// few small reads for each.
  std::vector<Kin> ended(const Peer& peer);
  /// Ends it for a process that lives on; its children are forgotten, and it is measured no more.
  void forget(const Peer& peer);
  /// Measures the process, soon and with each sample, until it has ended or runs another image.
  void measure(const Peer& process);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace membroker::broker
