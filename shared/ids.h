#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

/// \file
/// Strong ids: numbers that cannot be mixed up. 0 is "none".

namespace membroker {

template <class Tag>
struct Id {
  std::uint64_t value = 0;

  constexpr explicit operator bool() const { return value != 0; }
  friend constexpr auto operator<=>(Id, Id) = default;
};

using SessionId = Id<struct SessionTag>;        // one attached client, unique in the daemon's life
using RequestId = Id<struct RequestTag>;        // one Acquire, unique in its session
using RevocationId = Id<struct RevocationTag>;  // one opened revocation, as SessionId
using Epoch = Id<struct EpochTag>;              // number of the daemon's life
using Attach = Id<struct AttachTag>;            // number of a session's connection

}  // namespace membroker

template <class Tag>
struct std::hash<membroker::Id<Tag>> {
  std::size_t operator()(membroker::Id<Tag> id) const noexcept {
    return std::hash<std::uint64_t>()(id.value);
  }
};
