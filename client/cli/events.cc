#include "client/cli/events.h"

#include <string_view>

#include "client/cli/text.h"
#include "client/cli/views.h"
#include "shared/bytes.h"
#include "shared/format.h"

namespace membroker::cli {
namespace {

std::string local_time(std::int64_t wall_ms) {
  return local_minute(wall_ms) + strf(":%02d.%03d", static_cast<int>(wall_ms / 1000 % 60),
                                      static_cast<int>(wall_ms % 1000));
}

Style style_of(std::string_view name) {
  for (const char* bad : {"session_quarantined", "session_fenced", "revoke_overdue",
                          "revoke_ignored", "debt_over_cap", "ledger_lost"}) {
    if (name == bad) return Style::kBad;
  }
  for (const char* odd : {"session_suspect", "orphan_left", "draining", "daemon_stopping"}) {
    if (name == odd) return Style::kWarn;
  }
  return Style::kPlain;
}

}  // namespace

std::string render(const v1::admin::Event& event, bool colour) {
  std::string name = clean(event.name());
  const std::string pad(columns(name) < 20 ? 20 - columns(name) : 0, ' ');
  std::string line =
      local_time(event.wall_ms()) + "  " + paint(name, style_of(name), colour) + pad + " ";
  if (event.session_id() != 0) {
    line += strf(" session=%llu", static_cast<unsigned long long>(event.session_id()));
  }
  if (!event.tenant().empty()) line += " tenant=" + clean(event.tenant());
  if (!event.resource().empty()) line += " resource=" + clean(event.resource());
  if (event.bytes() != 0) line += " bytes=" + std::to_string(event.bytes());
  if (!event.detail().empty()) line += " " + clean(event.detail());
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

Status run_events(AdminClient& admin, const EventsOptions& options, Console& console) {
  v1::admin::WatchEventsRequest request;
  request.set_after_sequence(options.after);
  request.set_kept_only(!options.follow);
  Status printed;
  const auto show = [&](const v1::admin::WatchEventsResponse& response) {
    if (options.json) {
      const Result<std::string> json = to_json(response, true);
      if (!json) {
        printed = fail(json.error());
        return false;
      }
      console.out(*json);
      return !console.failed();
    }
    if (response.missed() > 0) {
      console.err(strf("membrokerctl: %llu events before this one are not kept any more\n",
                       static_cast<unsigned long long>(response.missed())));
    }
    console.out(render(response.event(), console.colour()));
    return !console.failed();
  };
  Status watched = admin.watch(request, show);
  return printed ? watched : printed;
}

}  // namespace membroker::cli
