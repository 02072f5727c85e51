#include "client/cli/views.h"

#include <google/protobuf/util/json_util.h>

#include <map>
#include <vector>

#include "client/cli/table.h"
#include "shared/format.h"

namespace membroker::cli {
namespace {

using v1::admin::Lease;
using v1::admin::ResourceStatus;
using v1::admin::Session;
using v1::admin::Tenant;

Cell bytes_cell(Bytes bytes, Style style = Style::kPlain) {
  return {format_bytes(bytes), unless_zero(bytes, style)};
}

/// Nothing at all for zero: a column of these is left out.
Cell cell_unless_zero(Bytes bytes) {
  return bytes == 0 ? Cell{} : Cell{format_bytes(bytes), Style::kWarn};
}

Cell count_cell(std::uint64_t count, Style style = Style::kPlain) {
  return {std::to_string(count), count == 0 ? Style::kDim : style};
}

Style session_style(const std::string& state) {
  if (state == "active") return Style::kGood;
  return state == "quarantined" || state == "fenced" ? Style::kBad : Style::kWarn;
}

Table memory_table() {
  return Table({{"RESOURCE"},
                {"CAPACITY", true},
                {"HELD", true},
                {"FREE", true},
                {"REVOKING", true},
                {"WAITING", true},
                {"OVERDUE", true},
                {"DEBT", true},
                {"PEAK HELD", true, 0, true},
                {"PEAK DEBT", true, 0, true},
                {"CHUNK", true, 0, true},
                {"WITHHELD", true, 0, true}});
}

void add_memory(Table& table, const ResourceStatus& resource) {
  table.add({{resource.resource()},
             bytes_cell(resource.capacity_bytes()),
             bytes_cell(resource.held_bytes(), Style::kGood),
             bytes_cell(resource.free_bytes()),
             bytes_cell(resource.revoking_bytes(), Style::kWarn),
             bytes_cell(resource.waiting_bytes(), Style::kWait),
             bytes_cell(resource.overdue_bytes(), Style::kBad),
             bytes_cell(resource.debt_bytes(), Style::kBad),
             bytes_cell(resource.peak_held_bytes()),
             bytes_cell(resource.peak_debt_bytes()),
             bytes_cell(resource.chunk_bytes()),
             cell_unless_zero(resource.withheld_bytes())});
}

Table count_table() {
  return Table({{"RESOURCE"},
                {"WAITING", true},
                {"GRANTED", true},
                {"DENIED", true},
                {"REVOCATIONS", true},
                {"ANSWERED", true},
                {"WITHDRAWN", true},
                {"LATE", true}});
}

void add_counts(Table& table, const ResourceStatus& resource) {
  table.add({{resource.resource()},
             count_cell(resource.waiting_requests(), Style::kWait),
             count_cell(resource.granted_count()),
             count_cell(resource.denied_count()),
             count_cell(resource.revoked_count()),
             count_cell(resource.revoke_answered_count()),
             count_cell(resource.revoke_withdrawn_count()),
             count_cell(resource.revoke_late_count(), Style::kBad)});
}

std::string plural(std::uint64_t count, const char* word) {
  return std::to_string(count) + " " + word + (count == 1 ? "" : "s");
}

std::string labels(const Session& session) {
  std::map<std::string, std::string> sorted(session.labels().begin(), session.labels().end());
  std::string text;
  for (const auto& [key, value] : sorted) text += (text.empty() ? "" : ",") + key + "=" + value;
  return text;
}

// What has happened since the daemon started, but for what has not.
std::string happened(const v1::admin::GetStatusResponse& status, std::size_t width) {
  const std::map<std::string, std::uint64_t> sorted(status.counts().begin(), status.counts().end());
  std::string text;
  std::string line = "since the start:";
  for (const auto& [name, count] : sorted) {
    if (count == 0) continue;
    const std::string word = " " + clean(name) + "=" + std::to_string(count);
    if (width > 0 && line.size() + word.size() > width) {
      text += "\n" + line;
      line = " ";
    }
    line += word;
  }
  return line.find('=') == std::string::npos ? text : text + "\n" + line;
}

Cell note_cell(const Tenant& tenant) {
  std::vector<std::string> notes;
  Style style = Style::kPlain;
  if (tenant.removed()) {
    notes.push_back("removed, drains");
    style = Style::kWarn;
  } else if (tenant.guarantee_mode() == "reserved") {
    notes.push_back("reserved");
  }
  if (tenant.debt_over_cap()) {
    notes.push_back("debt above " + format_bytes(tenant.debt_cap_bytes()));
    style = Style::kBad;
  }
  if (tenant.orphaned_bytes() > 0) {
    notes.push_back("orphaned " + format_bytes(tenant.orphaned_bytes()));
  }
  std::string text;
  for (const std::string& note : notes) text += (text.empty() ? "" : ", ") + note;
  return {text, style};
}

// The client, or the forked child that its process has left behind.
Cell holder_cell(const Lease& lease) {
  if (lease.orphan_pid() == 0) return {lease.client_name()};
  const auto pid = static_cast<long long>(lease.orphan_pid());
  return {strf("orphan %lld of %s", pid, lease.client_name().c_str()), Style::kWarn};
}

}  // namespace

std::string revocation(const v1::admin::Lease& lease) {
  if (lease.revoking_bytes() == 0) return {};
  return lease.revoke_stage() + " " + lease.revoke_reason() + " " +
         format_duration(static_cast<Millis>(lease.revoke_deadline_ms()));
}

Style unless_zero(std::int64_t value, Style style) { return value == 0 ? Style::kDim : style; }

std::string headline(const v1::admin::GetStatusResponse& status, const Look& look) {
  const std::string text =
      strf("membrokerd %s  pid %lld  epoch %llu  up %s  ", clean(status.version()).c_str(),
           static_cast<long long>(status.pid()), static_cast<unsigned long long>(status.epoch()),
           format_duration(static_cast<Millis>(status.uptime_ms())).c_str());
  const Style style = status.state() == "serving" ? Style::kGood : Style::kWarn;
  return text + paint(clean(status.state()), style, look.colour);
}

std::string render(const v1::admin::GetStatusResponse& status, const Look& look) {
  std::string text = headline(status, look) + "\n";
  text += plural(status.tenants(), "tenant") + ", " + plural(status.sessions(), "session");
  if (status.sessions_suspect() > 0) {
    const std::string suspect = std::to_string(status.sessions_suspect()) + " suspect";
    text += ", " + paint(suspect, Style::kWarn, look.colour);
  }
  Table memory = memory_table();
  Table counts = count_table();
  for (const ResourceStatus& resource : status.resources()) {
    add_memory(memory, resource);
    add_counts(counts, resource);
    if (resource.tenants_over_debt_cap() > 0) {
      const std::string over = plural(resource.tenants_over_debt_cap(), "tenant") +
                               " over the debt cap of " + clean(resource.resource());
      text += ", " + paint(over, Style::kBad, look.colour);
    }
  }
  return text + happened(status, look.width) + "\n\n" + memory.render(look.width, look.colour) +
         "\n" + counts.render(look.width, look.colour);
}

std::string render(const ResourceStatus& resource, const Look& look) {
  Table memory = memory_table();
  add_memory(memory, resource);
  return memory.render(look.width, look.colour);
}

std::string render(const v1::admin::ListTenantsResponse& tenants, const Look& look) {
  Table table({{"TENANT", false, 12},
               {"RESOURCE"},
               {"HELD", true},
               {"GUARANTEE", true},
               {"LIMIT", true},
               {"WEIGHT", true},
               {"PRIORITY", true, 0, true},
               {"REVOKING", true},
               {"WAITING", true},
               {"OVERDUE", true},
               {"DEBT", true},
               {"SESSIONS", true},
               {"NOTE", false, 0, true}});
  for (const Tenant& tenant : tenants.tenants()) {
    table.add({{tenant.path()},
               {tenant.resource()},
               bytes_cell(tenant.held_bytes(), Style::kGood),
               bytes_cell(tenant.guarantee_bytes()),
               {format_limit(tenant.limit_bytes())},
               {std::to_string(tenant.weight())},
               {std::to_string(tenant.priority())},
               bytes_cell(tenant.revoking_bytes(), Style::kWarn),
               bytes_cell(tenant.waiting_bytes(), Style::kWait),
               bytes_cell(tenant.overdue_bytes(), Style::kBad),
               bytes_cell(tenant.debt_bytes(), Style::kBad),
               count_cell(tenant.sessions()),
               note_cell(tenant)});
  }
  return table.render(look.width, look.colour);
}

std::string render(const v1::admin::ListSessionsResponse& sessions, const Look& look) {
  Table table({{"SESSION", true},
               {"TENANT", false, 12},
               {"CLIENT", false, 12},
               {"PID", true},
               {"UID", true},
               {"STATE"},
               {"HELD", true},
               {"PRIORITY", true, 0, true},
               {"ATTACH", true, 0, true},
               {"AGE", true},
               {"SILENT", true},
               {"LABELS", false, 8, true}});
  for (const Session& session : sessions.sessions()) {
    table.add({{std::to_string(session.session_id())},
               {session.tenant()},
               {session.client_name()},
               {std::to_string(session.pid())},
               {std::to_string(session.uid())},
               {session.state(), session_style(session.state())},
               bytes_cell(session.held_bytes(), Style::kGood),
               {std::to_string(session.priority())},
               {std::to_string(session.attach())},
               {format_duration(static_cast<Millis>(session.age_ms()))},
               {format_duration(static_cast<Millis>(session.silent_ms()))},
               {labels(session)}});
  }
  return table.render(look.width, look.colour);
}

std::string render(const v1::admin::ListLeasesResponse& leases, const Look& look) {
  Table table({{"SESSION", true},
               {"TENANT", false, 12},
               {"CLIENT", false, 12},
               {"RESOURCE"},
               {"HELD", true},
               {"FLOOR", true, 0, true},
               {"RESERVED", true},
               {"SLACK", true},
               {"RECLAIMABLE", true},
               {"SPILLED", true},
               {"WAITING", true},
               {"DEBT", true, 0, true},
               {"OVERDUE", true, 0, true},
               {"REVOKING", true},
               {"ASKED", false, 10, true}});
  for (const Lease& lease : leases.leases()) {
    table.add({{std::to_string(lease.session_id())},
               {lease.tenant()},
               holder_cell(lease),
               {lease.resource()},
               bytes_cell(lease.held_bytes(), Style::kGood),
               bytes_cell(lease.floor_bytes()),
               bytes_cell(lease.reserved_bytes()),
               bytes_cell(lease.slack_bytes()),
               bytes_cell(lease.reclaimable_bytes()),
               bytes_cell(lease.spilled_bytes()),
               bytes_cell(lease.waiting_bytes(), Style::kWait),
               bytes_cell(lease.debt_bytes(), Style::kBad),
               bytes_cell(lease.overdue_bytes(), Style::kBad),
               bytes_cell(lease.revoking_bytes(), Style::kWarn),
               {revocation(lease)}});
  }
  return table.render(look.width, look.colour);
}

Result<std::string> to_json(const google::protobuf::Message& message, bool compact) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  options.add_whitespace = !compact;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) {
    return fail(ErrorCode::kCorrupt, "cannot print the answer as JSON: " + status.ToString());
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text + "\n";
}

}  // namespace membroker::cli
