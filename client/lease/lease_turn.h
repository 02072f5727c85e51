#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "client/lease/lease_cache.h"

/// \file
/// One entry into a LeaseCache. What it has to say to others is collected under the mutex and said
/// when it is released.

namespace membroker::lease {

class LeaseCache::Turn {
 public:
  explicit Turn(LeaseCache& cache) : cache_(cache), lock_(cache.mutex_) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    cache_.settle(*this);
    const std::shared_ptr<LeaseSource> source =
        acquires.empty() && cancels.empty() && progress.empty() && !changed ? nullptr
                                                                            : cache_.source_;
    lock_.unlock();
    if (source != nullptr) {
      for (const LeaseRequest& request : acquires) source->acquire(request);
      for (const RequestId id : cancels) source->cancel(id);
      if (changed) source->changed(urgent);
      for (const Progress& said : progress) {
        source->progress(said.id, said.target, said.state, said.reason);
      }
    }
    if (notify && cache_.options_.changed) cache_.options_.changed();
  }

  void tell(bool at_once) {
    changed = true;
    urgent = urgent || at_once;
  }

  std::vector<LeaseRequest> acquires;
  std::vector<RequestId> cancels;
  std::vector<Progress> progress;
  bool changed = false;
  bool urgent = false;
  bool notify = false;

 private:
  LeaseCache& cache_;
  std::unique_lock<std::mutex> lock_;
};

}  // namespace membroker::lease
