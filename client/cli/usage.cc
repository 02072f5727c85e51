#include "client/cli/usage.h"

#include "client/cli/table.h"
#include "client/cli/text.h"
#include "shared/format.h"

namespace membroker::cli {
namespace {

constexpr std::uint32_t kPageSize = 4'000;  // the most that a daemon gives
constexpr std::uint32_t kAllSeconds = 58;   // a look or two may fall into the minutes beside

Cell bytes_cell(Bytes bytes, Style style = Style::kPlain) {
  return {format_bytes(bytes), unless_zero(bytes, style)};
}

Status print_json(const v1::admin::GetUsageResponse& page, Console& console) {
  for (const v1::admin::Usage& row : page.rows()) {
    const Result<std::string> json = to_json(row, true);
    if (!json) return fail(json.error());
    console.out(*json);
  }
  return {};
}

}  // namespace

std::string render(const v1::admin::GetUsageResponse& usage, const Look& look) {
  Table table({{"MINUTE"},
               {"TENANT", false, 12},
               {"RESOURCE"},
               {"MEAN HELD", true},
               {"PEAK HELD", true},
               {"PEAK WAITING", true},
               {"SPILLED", true},
               {"REVOCATIONS", true},
               {"OBSERVED", true, 0, true}});
  for (const v1::admin::Usage& row : usage.rows()) {
    const bool all = row.observed_seconds() >= kAllSeconds;
    table.add({{local_minute(row.minute_ms())},
               {row.tenant()},
               {row.resource()},
               bytes_cell(row.mean_held_bytes(), Style::kGood),
               bytes_cell(row.peak_held_bytes()),
               bytes_cell(row.peak_waiting_bytes(), Style::kWait),
               bytes_cell(row.spilled_bytes()),
               {std::to_string(row.revoked_count()),
                row.revoked_count() == 0 ? Style::kDim : Style::kPlain},
               {all ? "" : strf("%u s", row.observed_seconds()), Style::kWarn}});
  }
  return table.render(look.width, look.colour);
}

Status run_usage(AdminClient& admin, const UsageOptions& options, const Look& look,
                 Console& console) {
  v1::admin::GetUsageRequest request;
  request.set_tenant(options.tenant);
  request.set_resource(options.resource);
  request.set_since_ms(options.since_ms);
  request.set_until_ms(options.until_ms);
  request.set_page_size(kPageSize);
  for (;;) {
    const Result<v1::admin::GetUsageResponse> page = admin.usage(request);
    if (!page) return fail(page.error());
    // A last page may be empty; a first one has the titles.
    if (options.json) {
      if (Status printed = print_json(*page, console); !printed) return printed;
    } else if (page->rows_size() > 0 || !request.has_after()) {
      console.out(render(*page, look));
    }
    if (!page->has_next() || console.failed()) {
      if (!page->not_recorded().empty()) {
        console.err("membrokerctl: the latest minutes are not recorded: " +
                    clean(page->not_recorded()) + "\n");
      }
      return {};
    }
    *request.mutable_after() = page->next();
  }
}

}  // namespace membroker::cli
