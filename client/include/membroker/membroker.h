#pragma once

/// \file
/// The C ABI of libmembroker: all of the library for C and for bindings of other languages. It is
/// stable: within libmembroker.so.0 functions, numbers and structures are only added.
///
///     mb_error* error = NULL;
///     mb_client* client = NULL;
///     mb_client_options options = MB_CLIENT_OPTIONS_INIT;
///     options.tenant = "etl";
///     if (mb_client_open(&options, &client, &error) != MB_OK) {
///       fprintf(stderr, "%s\n", mb_error_message(error));
///       mb_error_drop(error);
///       return 1;
///     }
///     mb_pool* pool = NULL;
///     mb_client_pool(client, "ram", &pool, NULL);     // reserve in it: membroker/c/consumer.h
///     ...
///     mb_pool_drop(pool);
///     mb_client_drop(client);
///
/// Rules that hold for every function, unless it says otherwise:
///
/// * A handle (`mb_pool*` …) is made by one function and ended by its `mb_…_drop`, in any order;
///   dropping NULL does nothing. Handles share what they name: dropping a pool's handle ends the
///   handle, and the pool when nobody uses it any more.
/// * What can fail returns mb_status, MB_OK (0) or the kind of failure. The last parameter
///   `mb_error** error` may be NULL; else it is set in any case: to NULL after success, to an error
///   that the caller drops after failure. After a failure nothing else has changed, outputs
///   included.
/// * A required pointer that is NULL is MB_INVALID, with the function and the parameter in the
///   message. Functions that return a number give -1, and those that return text "".
/// * Options, and structures that are filled in, begin with `size_t struct_size`, which the caller
///   sets to sizeof of the structure as it knows it: use the MB_…_INIT macros. A smaller structure
///   of an older header is taken: missing options have their defaults, and only the part that is
///   there is filled in. A larger one of a newer header is taken if what this library does not
///   know is zero, and is zeroed where it is filled in.
/// * Texts are UTF-8, end with 0 and are copied. Bytes are int64_t and never negative; times are
///   milliseconds from now, MB_FOREVER (-1) for no end.
/// * Functions may be called from any thread at once on the same handle, but for `mb_…_drop`, which
///   must be the last call on its handle. Exceptions are named where they are.
/// * Call-backs have a `void* context` that is theirs. They must return, and may not throw or
///   longjmp through the library.

#include "membroker/c/base.h"      // IWYU pragma: export
#include "membroker/c/buffer.h"    // IWYU pragma: export
#include "membroker/c/client.h"    // IWYU pragma: export
#include "membroker/c/consumer.h"  // IWYU pragma: export
#include "membroker/c/pool.h"      // IWYU pragma: export
#include "membroker/c/spill.h"     // IWYU pragma: export
