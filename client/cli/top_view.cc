#include "client/cli/top_view.h"

#include <algorithm>
#include <vector>

#include "client/cli/bar.h"
#include "client/cli/table.h"
#include "shared/format.h"

namespace membroker::cli {
namespace {

using v1::admin::Lease;
using v1::admin::ResourceStatus;
using v1::admin::Tenant;

constexpr std::size_t kBarLeast = 10;
constexpr std::size_t kBarGood = 30;  // worth more than two columns of figures
constexpr std::size_t kBarMost = 80;
constexpr std::size_t kLinesOfOneTable = 3;  // a blank, the header, one row

const ResourceStatus* find(const v1::admin::GetStatusResponse& status, const std::string& name) {
  for (const ResourceStatus& resource : status.resources()) {
    if (resource.resource() == name) return &resource;
  }
  return nullptr;
}

// The bar's room: what the width leaves beside `others` columns of text; 0 if that is too little.
std::size_t bar_width(std::size_t width, std::size_t others) {
  const std::size_t room = width > others ? width - others : 0;
  return room < kBarLeast ? 0 : std::min(room, kBarMost);
}

std::string per_second(const ResourceStatus& now, const Sample* before, Millis passed) {
  const ResourceStatus* then = before == nullptr ? nullptr : find(before->status, now.resource());
  if (then == nullptr || passed <= 0 || then->granted_count() > now.granted_count()) return {};
  const auto grants = static_cast<double>(now.granted_count() - then->granted_count());
  return strf(" (%.0f/s)", grants * 1000.0 / static_cast<double>(passed));
}

std::string resource_lines(const ResourceStatus& resource, const Sample& now, const Sample* before,
                           const Look& look) {
  BarFigures figures;
  figures.held = resource.held_bytes();
  figures.revoking = resource.revoking_bytes();
  figures.overdue = resource.overdue_bytes();
  const std::string name = clean(resource.resource());
  const std::string text = strf("%s of %s held", format_bytes(resource.held_bytes()).c_str(),
                                format_bytes(resource.capacity_bytes()).c_str());
  const std::size_t width = bar_width(look.width, columns(name) + columns(text) + 4);
  const auto cells = bar_cells(figures, resource.capacity_bytes(), width);
  std::string lines = width == 0
                          ? cut(name + "  " + text, look.width)
                          : name + "  " + draw(cells, look.unicode, look.colour) + "  " + text;
  lines += "\n";
  const Millis passed = before == nullptr ? 0 : now.time_ms - before->time_ms;
  const std::string figures_line = strf(
      "free %s  revoking %s  waiting %s in %u  overdue %s  debt %s  peak %s",
      format_bytes(resource.free_bytes()).c_str(), format_bytes(resource.revoking_bytes()).c_str(),
      format_bytes(resource.waiting_bytes()).c_str(), resource.waiting_requests(),
      format_bytes(resource.overdue_bytes()).c_str(), format_bytes(resource.debt_bytes()).c_str(),
      format_bytes(resource.peak_held_bytes()).c_str());
  const std::string counts_line = strf(
      "granted %llu%s  denied %llu  revocations %llu: %llu answered, %llu withdrawn, %llu late",
      static_cast<unsigned long long>(resource.granted_count()),
      per_second(resource, before, passed).c_str(),
      static_cast<unsigned long long>(resource.denied_count()),
      static_cast<unsigned long long>(resource.revoked_count()),
      static_cast<unsigned long long>(resource.revoke_answered_count()),
      static_cast<unsigned long long>(resource.revoke_withdrawn_count()),
      static_cast<unsigned long long>(resource.revoke_late_count()));
  const bool alarm = resource.overdue_bytes() > 0 || resource.debt_bytes() > 0;
  lines += paint(cut(figures_line, look.width), alarm ? Style::kWarn : Style::kPlain, look.colour);
  return lines + "\n" + cut(counts_line, look.width) + "\n";
}

// Guarantee and limit are drawn in the bar: their columns go where the bar needs the room.
Table tenant_table(bool wide) {
  std::vector<Column> columns = {{"TENANT", false, 8}};
  if (wide) columns.insert(columns.end(), {{"RESOURCE"}, {"GUARANTEE", true}, {"LIMIT", true}});
  columns.insert(columns.end(), {{"HELD", true}, {"REVOKING", true}, {"WAITING", true}, {""}});
  return Table(std::move(columns));
}

void add_tenant(Table& table, bool wide, const Tenant& tenant, const Cell& bar) {
  const auto bytes = [](Bytes value, Style style) {
    return Cell{format_bytes(value), unless_zero(value, style)};
  };
  std::vector<Cell> cells = {{tenant.path(), tenant.removed() ? Style::kWarn : Style::kPlain}};
  if (wide) {
    cells.push_back({tenant.resource()});
    cells.push_back(bytes(tenant.guarantee_bytes(), Style::kPlain));
    cells.push_back({format_limit(tenant.limit_bytes())});
  }
  cells.push_back(bytes(tenant.held_bytes(), Style::kGood));
  cells.push_back(bytes(tenant.revoking_bytes(), Style::kWarn));
  cells.push_back(bytes(tenant.waiting_bytes(), Style::kWait));
  cells.push_back(bar);
  table.add(std::move(cells));
}

// Columns of everything but the bar.
std::size_t text_width(const Sample& now, std::size_t rows, bool wide) {
  Table table = tenant_table(wide);
  for (std::size_t i = 0; i < rows; ++i) {
    add_tenant(table, wide, now.tenants.tenants(static_cast<int>(i)), {"", Style::kPlain, true, 0});
  }
  return table.natural_width();
}

std::string tenant_bars(const Sample& now, std::size_t rows_most, const Look& look) {
  const auto rows = std::min(rows_most, static_cast<std::size_t>(now.tenants.tenants_size()));
  const bool wide = text_width(now, rows, true) + kBarGood <= look.width;
  const std::size_t width = bar_width(look.width, text_width(now, rows, wide));
  Table table = tenant_table(wide);
  for (std::size_t i = 0; i < rows; ++i) {
    const Tenant& tenant = now.tenants.tenants(static_cast<int>(i));
    const BarFigures figures{tenant.held_bytes(),      tenant.revoking_bytes(),
                             tenant.overdue_bytes(),   tenant.waiting_bytes(),
                             tenant.guarantee_bytes(), tenant.limit_bytes()};
    const ResourceStatus* resource = find(now.status, tenant.resource());
    const Bytes scale = resource == nullptr ? 0 : resource->capacity_bytes();
    const auto cells = bar_cells(figures, scale, width);
    const Cell bar{draw(cells, look.unicode, look.colour), Style::kPlain, true, width};
    add_tenant(table, wide, tenant, bar);
  }
  return table.render(look.width, look.colour);
}

std::string lease_rows(const Sample& now, std::size_t rows, const Look& look) {
  std::vector<const Lease*> leases;
  for (const Lease& lease : now.leases.leases()) leases.push_back(&lease);
  std::stable_sort(leases.begin(), leases.end(), [](const Lease* a, const Lease* b) {
    return a->held_bytes() > b->held_bytes();
  });
  if (leases.size() > rows) leases.resize(rows);
  Table table({{"SESSION", true},
               {"TENANT", false, 8},
               {"CLIENT", false, 8},
               {"HELD", true},
               {"SLACK", true},
               {"RECLAIMABLE", true, 0, true},
               {"SPILLED", true, 0, true},
               {"REVOKING", true},
               {"ASKED", false, 10, true}});
  const auto bytes = [](Bytes value, Style style) {
    return Cell{format_bytes(value), unless_zero(value, style)};
  };
  for (const Lease* lease : leases) {
    table.add({{std::to_string(lease->session_id())},
               {lease->tenant()},
               {lease->client_name()},
               bytes(lease->held_bytes(), Style::kGood),
               bytes(lease->slack_bytes(), Style::kPlain),
               bytes(lease->reclaimable_bytes(), Style::kPlain),
               bytes(lease->spilled_bytes(), Style::kPlain),
               bytes(lease->revoking_bytes(), Style::kWarn),
               {revocation(*lease)}});
  }
  return table.render(look.width, look.colour);
}

std::size_t line_count(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

// The first `height` lines, the last of them without its break: a full screen must not scroll.
std::string crop(const std::string& text, std::size_t height) {
  std::size_t end = 0;
  for (std::size_t line = 0; line < height && end != std::string::npos; ++line) {
    end = text.find('\n', line == 0 ? 0 : end + 1);
  }
  return text.substr(0, end);
}

}  // namespace

std::string render_frame(const Sample& now, const Sample* before, const Look& look,
                         std::size_t height, const std::string& note) {
  std::string text = cut(headline(now.status, {look.width, false, false}), look.width) + "\n";
  text += cut(strf("%s  %u tenants, %u sessions, %u suspect", now.clock.c_str(),
                   now.status.tenants(), now.status.sessions(), now.status.sessions_suspect()),
              look.width) +
          "\n\n";
  for (const ResourceStatus& resource : now.status.resources()) {
    text += resource_lines(resource, now, before, look);
  }
  const std::size_t note_lines = note.empty() ? 0 : 1;
  const std::size_t fixed = line_count(text) + note_lines + kLinesOfOneTable + 1;
  const std::size_t room = height > fixed ? height - fixed : 1;
  text += "\n" + tenant_bars(now, room, look);
  const std::string legend = bar_legend(look.unicode, false);
  if (columns(legend) <= look.width) text += bar_legend(look.unicode, look.colour) + "\n";
  const std::size_t used = line_count(text) + note_lines;
  if (height >= used + kLinesOfOneTable) {
    text += "\n" + lease_rows(now, height - used - (kLinesOfOneTable - 1), look);
  }
  if (!note.empty()) {
    if (height > 1) text = crop(text, height - 1) + "\n";
    if (height <= 1) text.clear();
    text += paint(cut(clean(note), look.width), Style::kBad, look.colour);
  }
  return crop(text, height);
}

std::string render_line(const Sample& now) {
  std::string text;
  for (const ResourceStatus& resource : now.status.resources()) {
    std::string line = now.clock + " resource=" + clean(resource.resource());
    const auto add_bytes = [&](const std::string& key, Bytes bytes) {
      std::string value = format_bytes(bytes);
      std::erase(value, ' ');
      line += " " + key + "=" + value;
    };
    const auto add_count = [&](const std::string& key, std::uint64_t count) {
      line += " " + key + "=" + std::to_string(count);
    };
    add_bytes("capacity", resource.capacity_bytes());
    add_bytes("held", resource.held_bytes());
    add_bytes("free", resource.free_bytes());
    add_bytes("revoking", resource.revoking_bytes());
    add_bytes("waiting", resource.waiting_bytes());
    add_bytes("overdue", resource.overdue_bytes());
    add_bytes("debt", resource.debt_bytes());
    add_count("revocations", resource.revoked_count());
    add_count("answered", resource.revoke_answered_count());
    add_count("late", resource.revoke_late_count());
    for (const Tenant& tenant : now.tenants.tenants()) {
      if (tenant.resource() != resource.resource()) continue;
      add_bytes("tenant." + clean(tenant.path()), tenant.held_bytes());
    }
    text += line + "\n";
  }
  return text;
}

Result<std::string> render_json(const Sample& now) {
  std::string text = strf("{\"time_ms\":\"%lld\"", static_cast<long long>(now.time_ms));
  const auto add = [&](const char* key, const google::protobuf::Message& message) -> Status {
    Result<std::string> json = to_json(message, true);
    if (!json) return fail(json.error());
    json->pop_back();
    text += std::string(",\"") + key + "\":" + *json;
    return {};
  };
  if (Status added = add("status", now.status); !added) return fail(added.error());
  if (Status added = add("tenants", now.tenants); !added) return fail(added.error());
  if (Status added = add("leases", now.leases); !added) return fail(added.error());
  return text + "}\n";
}

}  // namespace membroker::cli
