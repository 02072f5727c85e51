#pragma once

#include <string>

#include "server/arbiter/queue.h"

/// \file
/// What an operator changes: capacity, tenants, their policies (section 6). A change that cannot be
/// is Rejected and changes nothing.

namespace membroker::arbiter {

class Tenants {
 public:
  Tenants(Core& core, Queue& queue) : core_(core), queue_(queue) {}

  void set_capacity(const SetCapacity& event);
  void set(const SetTenant& event);
  void remove(const RemoveTenant& event);

 private:
  std::string complaint(const SetTenant& event) const;

  Core& core_;
  Queue& queue_;
};

}  // namespace membroker::arbiter
