#include "server/arbiter/scan.h"

#include <algorithm>

namespace membroker::arbiter {

Scan::~Scan() {
  for (Tenant* node : cut_) core_.tree.show(*node);
  queue_.unhide_all();
}

Request* Scan::next() { return done_ ? nullptr : queue_.first(); }

void Scan::put_by(Request& request, const Tenant& at) {
  Tenant* blocking = &core_.tree.root();
  for (Tenant* node = request.lease->parent; node != &at; node = node->parent) {
    node->waits_further_up = number_;
  }
  if (&at != blocking) {
    blocking = const_cast<Tenant*>(&at);
    if (blocking->blocked_in != number_) {
      blocking->blocked_in = number_;
      blocking->blocked = 0;
      blocking_.push_back(blocking);
    }
  } else if (queue_.at_last()) {
    done_ = true;
    return;
  }
  queue_.hide(request);
  ++blocked_;
  const std::int32_t scan = core_.options.scan;
  done_ = blocked_ == kScansInAll * scan;
  if (blocking->parent == nullptr) {
    done_ = done_ || ++blocked_at_root_ == scan;
  } else if (++blocking->blocked == scan && !blocking->set_aside) {
    core_.tree.set_aside(*blocking);
    cut_.push_back(blocking);
  }
}

std::vector<Tenant*> Scan::settled() const {
  std::vector<Tenant*> nodes = blocking_;
  std::erase_if(nodes, [this](const Tenant* node) {
    return node->waits_further_up == number_ || node->counted.eligible;
  });
  return nodes;
}

}  // namespace membroker::arbiter
