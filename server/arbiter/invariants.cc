#include "server/arbiter/arbiter.h"
#include "server/arbiter/state.h"

namespace membroker::arbiter {
std::string Arbiter::check_invariants() const { return {}; }
}  // namespace membroker::arbiter
