#include "membroker/client.h"

#include "client/c/handles.h"
#include "shared/format.h"

using namespace membroker;
using namespace membroker::c;

struct mb_client_stats {
  ClientStats value;
};
struct mb_close_report {
  CloseReport value;
};

static_assert(static_cast<int>(LogLevel::kDebug) == MB_LOG_DEBUG);
static_assert(static_cast<int>(LogLevel::kInfo) == MB_LOG_INFO);
static_assert(static_cast<int>(LogLevel::kWarn) == MB_LOG_WARN);
static_assert(static_cast<int>(LogLevel::kError) == MB_LOG_ERROR);
static_assert(static_cast<int>(WhenAway::Mode::kWait) == MB_WHEN_AWAY_WAIT);
static_assert(static_cast<int>(WhenAway::Mode::kKeep) == MB_WHEN_AWAY_KEEP);
static_assert(static_cast<int>(WhenAway::Mode::kFail) == MB_WHEN_AWAY_FAIL);
static_assert(static_cast<int>(WhenAway::Mode::kStandalone) == MB_WHEN_AWAY_STANDALONE);
static_assert(static_cast<int>(ConnectionState::kIdle) == MB_CONNECTION_IDLE);
static_assert(static_cast<int>(ConnectionState::kConnecting) == MB_CONNECTION_CONNECTING);
static_assert(static_cast<int>(ConnectionState::kAttached) == MB_CONNECTION_ATTACHED);
static_assert(static_cast<int>(ConnectionState::kAway) == MB_CONNECTION_AWAY);
static_assert(static_cast<int>(ConnectionState::kRefused) == MB_CONNECTION_REFUSED);
static_assert(static_cast<int>(ConnectionState::kClosed) == MB_CONNECTION_CLOSED);
static_assert(static_cast<int>(ConnectionState::kForked) == MB_CONNECTION_FORKED);
static_assert(static_cast<int>(ConnectionState::kEmbedded) == MB_CONNECTION_EMBEDDED);

namespace {

std::string text_of(const char* text) { return text == nullptr ? "" : text; }

Status read_labels(const mb_client_options& given, ClientOptions& options) {
  if (given.labels == nullptr && given.label_count > 0) {
    return fail(ErrorCode::kInvalid, "mb_client_options.labels is NULL, and label_count is not 0");
  }
  for (std::size_t i = 0; i < given.label_count; ++i) {
    const mb_label& label = given.labels[i];
    if (label.key == nullptr || label.value == nullptr) {
      return fail(ErrorCode::kInvalid,
                  strf("mb_client_options.labels[%zu] has a NULL for key or value", i));
    }
    if (!options.labels.emplace(label.key, label.value).second) {
      return fail(ErrorCode::kInvalid,
                  strf("mb_client_options.labels names \"%s\" twice", label.key));
    }
  }
  return {};
}

// The elements are as large as the caller's version has them: the first one says how large.
Status read_resources(const mb_client_options& given, ClientOptions& options) {
  if (given.resources == nullptr) {
    if (given.resource_count == 0) return {};
    return fail(ErrorCode::kInvalid,
                "mb_client_options.resources is NULL, and resource_count is not 0");
  }
  options.resources.clear();
  const std::size_t stride = given.resources->struct_size;
  const auto* element = reinterpret_cast<const unsigned char*>(given.resources);
  for (std::size_t i = 0; i < given.resource_count; ++i, element += stride) {
    const auto* one = reinterpret_cast<const mb_resource_options*>(element);
    const mb_resource_options defaults = MB_RESOURCE_OPTIONS_INIT;
    Result<mb_resource_options> read = read_options("mb_resource_options", one, defaults);
    if (!read) return fail(read.error());
    if (one->struct_size != stride) {
      return fail(ErrorCode::kInvalid,
                  strf("mb_client_options.resources[%zu].struct_size is %zu, that of the first %zu",
                       i, one->struct_size, stride));
    }
    options.resources.push_back({text_of(read->name), read->floor_bytes});
  }
  return {};
}

Result<ClientOptions> read_client_options(const mb_client_options& given,
                                          const std::shared_ptr<Context>& log_context) {
  ClientOptions options;
  options.tenant = text_of(given.tenant);
  options.socket = text_of(given.socket);
  options.client_name = text_of(given.client_name);
  options.priority = given.priority;
  if (given.when_away < MB_WHEN_AWAY_WAIT || given.when_away > MB_WHEN_AWAY_STANDALONE) {
    return fail(ErrorCode::kInvalid, strf("mb_client_options.when_away is %d, which is no mode",
                                          static_cast<int>(given.when_away)));
  }
  options.when_away = {static_cast<WhenAway::Mode>(given.when_away), given.standalone_bytes};
  options.child_budget_bytes = given.child_budget_bytes;
  if (Status ok = read_labels(given, options); !ok) return fail(ok.error());
  if (Status ok = read_resources(given, options); !ok) return fail(ok.error());
  if (given.log != nullptr) {
    options.log = [log = given.log, log_context](LogLevel level, std::string_view line) {
      log(log_context->get(), static_cast<mb_log_level>(level), std::string(line).c_str());
    };
  }
  return options;
}

mb_resource_stats fields_of(const ResourceStats& stats) {
  return {.struct_size = sizeof(mb_resource_stats),
          .resource = stats.resource.c_str(),
          .held_bytes = stats.held_bytes,
          .reserved_bytes = stats.reserved_bytes,
          .slack_bytes = stats.slack_bytes,
          .reclaimable_bytes = stats.reclaimable_bytes,
          .allocated_bytes = stats.allocated_bytes,
          .spilled_bytes = stats.spilled_bytes,
          .floor_bytes = stats.floor_bytes,
          .debt_bytes = stats.debt_bytes,
          .peak_held_bytes = stats.peak_held_bytes,
          .peak_reserved_bytes = stats.peak_reserved_bytes,
          .granted_total = stats.granted_total,
          .overdrawn_total = stats.overdrawn_total,
          .returned_total = stats.returned_total,
          .requests_asked = stats.requests_asked,
          .requests_granted = stats.requests_granted,
          .requests_denied = stats.requests_denied,
          .revocations_asked = stats.revocations_asked,
          .revocations_answered = stats.revocations_answered,
          .revocations_late = stats.revocations_late};
}

}  // namespace

mb_status mb_client_open(const mb_client_options* options, mb_client** out, mb_error** error) {
  return guarded(__func__, {{options, "options"}, {out, "out"}}, error, [&]() -> Status {
    const mb_client_options defaults = MB_CLIENT_OPTIONS_INIT;
    Result<mb_client_options> given = read_options("mb_client_options", options, defaults);
    if (!given) return fail(given.error());
    auto context = std::make_shared<Context>(given->log_context, given->log_context_drop);
    Result<ClientOptions> read = read_client_options(*given, context);
    if (!read) return fail(read.error());
    Result<Client> client = Client::open(std::move(*read));
    if (!client) return fail(client.error());
    *out = new mb_client{std::move(*client)};
    context->arm();
    return {};
  });
}

mb_status mb_client_embedded(int64_t capacity_bytes, mb_client** out, mb_error** error) {
  return guarded(__func__, {{out, "out"}}, error, [&]() -> Status {
    Result<Client> client = Client::embedded(capacity_bytes);
    if (!client) return fail(client.error());
    *out = new mb_client{std::move(*client)};
    return {};
  });
}

mb_status mb_client_wait_connected(mb_client* client, int64_t timeout_ms, mb_error** error) {
  return guarded(__func__, {{client, "client"}}, error, [&]() -> Status {
    const auto timeout = duration_of(timeout_ms);
    if (!timeout) return fail(timeout.error());
    return client->value.wait_connected(*timeout);
  });
}

mb_status mb_client_pool(mb_client* client, const char* resource, mb_pool** out, mb_error** error) {
  return guarded(__func__, {{client, "client"}, {out, "out"}}, error, [&]() -> Status {
    const char* name = resource == nullptr ? "ram" : resource;
    std::shared_ptr<MemoryPool> pool = client->value.pool(name);
    if (pool == nullptr) {
      return fail(ErrorCode::kNotFound, strf("the client's options name no resource \"%s\"", name));
    }
    *out = new mb_pool{std::move(pool)};
    return {};
  });
}

mb_status mb_client_allocator(mb_client* client, mb_allocator** out, mb_error** error) {
  return guarded(__func__, {{client, "client"}, {out, "out"}}, error, [&]() -> Status {
    *out = new mb_allocator(client->value.allocator());
    return {};
  });
}

const char* mb_connection_state_name(mb_connection_state state) {
  return connection_state_name(static_cast<ConnectionState>(state)).data();
}

mb_status mb_client_get_stats(mb_client* client, mb_client_stats** out, mb_error** error) {
  return guarded(__func__, {{client, "client"}, {out, "out"}}, error, [&]() -> Status {
    *out = new mb_client_stats{client->value.stats()};
    return {};
  });
}

mb_status mb_client_stats_session(const mb_client_stats* stats, mb_session_stats* out,
                                  mb_error** error) {
  return guarded(__func__, {{stats, "stats"}, {out, "out"}}, error, [&]() -> Status {
    const ClientStats& from = stats->value;
    mb_session_stats fields = MB_SESSION_STATS_INIT;
    fields.session_id = from.session_id;
    fields.epoch = from.epoch;
    fields.attach = from.attach;
    fields.reconnects = from.reconnects;
    fields.state = static_cast<mb_connection_state>(from.state);
    fields.resource_count = static_cast<std::int32_t>(from.resources.size());
    fields.last_error = from.last_error.c_str();
    return fill_in("mb_session_stats", out, fields);
  });
}

mb_status mb_client_stats_resource(const mb_client_stats* stats, int32_t index,
                                   mb_resource_stats* out, mb_error** error) {
  return guarded(__func__, {{stats, "stats"}, {out, "out"}}, error, [&]() -> Status {
    const auto resource = at(stats->value.resources, "resource", index);
    if (!resource) return fail(resource.error());
    return fill_in("mb_resource_stats", out, fields_of(**resource));
  });
}

void mb_client_stats_drop(mb_client_stats* stats) { drop(stats); }

mb_status mb_client_close(mb_client* client, mb_close_report** out, mb_error** error) {
  return guarded(__func__, {{client, "client"}}, error, [&]() -> Status {
    auto report = std::make_unique<mb_close_report>();
    Result<CloseReport> closed = client->value.close();
    if (!closed) return fail(closed.error());
    report->value = std::move(*closed);
    if (out != nullptr) *out = report.release();
    return {};
  });
}

int32_t mb_close_report_ended(const mb_close_report* report) {
  return value_or<int32_t>(report, -1, [&] { return report->value.ended ? 1 : 0; });
}

int32_t mb_close_report_holder_count(const mb_close_report* report) {
  return value_or<int32_t>(report, -1, [&] { return report->value.holders.size(); });
}

mb_status mb_close_report_holder(const mb_close_report* report, int32_t index, mb_close_holder* out,
                                 mb_error** error) {
  return guarded(__func__, {{report, "report"}, {out, "out"}}, error, [&]() -> Status {
    const auto holder = at(report->value.holders, "holder", index);
    if (!holder) return fail(holder.error());
    mb_close_holder fields = MB_CLOSE_HOLDER_INIT;
    fields.resource = (*holder)->resource.c_str();
    fields.consumer = (*holder)->consumer.c_str();
    fields.held_bytes = (*holder)->held_bytes;
    fields.within = (*holder)->within.c_str();
    return fill_in("mb_close_holder", out, fields);
  });
}

void mb_close_report_drop(mb_close_report* report) { drop(report); }

void mb_client_drop(mb_client* client) { drop(client); }
