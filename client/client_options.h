#pragma once

#include "membroker/client.h"

/// \file
/// Client::open's options: what is filled in, and what is refused before anything is connected.

namespace membroker::detail {

/// Fills in what was left empty, from the environment where the option says so.
void set_defaults(ClientOptions& options);

/// Errors: kInvalid, naming the option.
Status check(const ClientOptions& options);

}  // namespace membroker::detail
