#include "client/cli/cli.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdlib>
#include <sstream>

#include "client/cli/admin_client.h"
#include "client/cli/events.h"
#include "client/cli/top.h"
#include "client/cli/usage.h"
#include "client/cli/views.h"
#include "shared/bytes.h"
#include "shared/format.h"
#include "shared/wall_time.h"

namespace membroker::cli {
namespace {

constexpr Millis kTimeoutLeast = 100;
constexpr Millis kTimeoutMost = 600'000;
constexpr Millis kIntervalLeast = 100;  // the daemon's snapshot is no fresher
constexpr Millis kIntervalMost = 3'600'000;

// What the command line said. Sizes and times are texts here: they were checked while parsing.
struct Arguments {
  std::string socket = default_socket();
  std::string output = "table";
  std::string timeout = "5s";
  std::string resource;
  std::string tenant;
  std::uint64_t session = 0;
  std::string bytes;
  std::string interval = "1s";
  std::int64_t count = 0;
  bool follow = false;
  std::uint64_t after = 0;
  std::string since = "1h";
  std::string until;
  std::string guarantee;
  std::string guarantee_mode;
  std::string limit;
  std::uint32_t weight = 0;
  std::int32_t priority = 0;
  std::int32_t priority_max = 0;
  std::string on_overdue;
};

struct Commands {
  CLI::App* status = nullptr;
  CLI::App* tenants = nullptr;
  CLI::App* sessions = nullptr;
  CLI::App* leases = nullptr;
  CLI::App* top = nullptr;
  CLI::App* events = nullptr;
  CLI::App* usage = nullptr;
  CLI::App* revoke = nullptr;
  CLI::App* tenant_set = nullptr;
  CLI::App* tenant_remove = nullptr;
  CLI::App* capacity_set = nullptr;
  CLI::App* drain = nullptr;
};

std::string check_bytes(const std::string& text) {
  const Result<Bytes> bytes = parse_bytes(text);
  return bytes ? std::string() : bytes.error().message();
}

std::string check_limit(const std::string& text) {
  return text == "none" ? std::string() : check_bytes(text);
}

std::string check_timeout(const std::string& text) {
  const Result<Millis> time = parse_duration(text, kTimeoutLeast, kTimeoutMost);
  return time ? std::string() : time.error().message();
}

std::string check_interval(const std::string& text) {
  const Result<Millis> time = parse_duration(text, kIntervalLeast, kIntervalMost);
  return time ? std::string() : time.error().message();
}

std::string check_time(const std::string& text) {
  const Result<std::int64_t> time = parse_time(text, wall_now_ms());
  return time ? std::string() : time.error().message();
}

void add_usage(CLI::App& app, Arguments& arguments, Commands& commands) {
  commands.usage = app.add_subcommand(
      "usage", "What tenants used, minute by minute, of the last 7 days; not yet of this minute");
  commands.usage->add_option("--tenant", arguments.tenant, "Only this tenant and those below");
  commands.usage->add_option("--resource", arguments.resource, "Only this resource");
  commands.usage
      ->add_option("--since", arguments.since,
                   "First minute: 30m, 2h, 7d (ago), 2026-05-20, 2026-05-20T07:29")
      ->check(check_time)
      ->capture_default_str();
  commands.usage
      ->add_option("--until", arguments.until, "Up to, without: as --since (default: now)")
      ->check(check_time);
}

void add_reading(CLI::App& app, Arguments& arguments, Commands& commands) {
  commands.status = app.add_subcommand("status", "The daemon, and what of each resource is lent");
  commands.tenants = app.add_subcommand("tenants", "Tenants: policy and what they hold");
  commands.tenants->add_option("--resource", arguments.resource, "Only this resource");
  commands.sessions = app.add_subcommand("sessions", "Attached clients");
  commands.sessions->add_option("--tenant", arguments.tenant, "Only this tenant and those below");
  commands.leases = app.add_subcommand("leases", "What each session holds, and is asked for");
  commands.leases->add_option("--tenant", arguments.tenant, "Only this tenant and those below");
  commands.leases->add_option("--resource", arguments.resource, "Only this resource");
  commands.leases->add_option("--session", arguments.session, "Only this session");
  commands.top = app.add_subcommand(
      "top", "Live view; where the output is no terminal, a line per sample and resource");
  commands.top->add_option("--interval", arguments.interval, "Time between samples, e.g. 500ms, 2s")
      ->check(check_interval)
      ->capture_default_str();
  commands.top->add_option("--count", arguments.count, "Stop after this many samples (0: never)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1'000'000'000}));
  commands.top->add_option("--resource", arguments.resource, "Only this resource");
  commands.events = app.add_subcommand(
      "events", "The daemon's last 1,024 events: sessions, revocations, tenants, budgets");
  commands.events->add_flag("-f,--follow", arguments.follow, "What comes, until it is stopped");
  commands.events->add_option("--after", arguments.after,
                              "Only events after this number (`sequence` of -o json)");
}

void add_changing(CLI::App& app, Arguments& arguments, Commands& commands) {
  commands.revoke = app.add_subcommand("revoke", "Ask a session's lease for bytes back");
  commands.revoke->add_option("SESSION", arguments.session, "Number, see `sessions`")->required();
  commands.revoke->add_option("BYTES", arguments.bytes, "E.g. 64MiB; at most what can be asked for")
      ->required()
      ->check(check_bytes);
  commands.revoke->add_option("--resource", arguments.resource, "Default: ram");

  CLI::App* tenant = app.add_subcommand("tenant", "Change the tenants")->require_subcommand(1);
  tenant->fallthrough();
  CLI::App* set = tenant->add_subcommand("set", "Create a tenant, or change the fields given");
  commands.tenant_set = set;
  set->add_option("PATH", arguments.tenant, "E.g. acme/etl")->required();
  set->add_option("--resource", arguments.resource, "Default: ram");
  set->add_option("--guarantee", arguments.guarantee, "Bytes always to be had")->check(check_bytes);
  set->add_option("--guarantee-mode", arguments.guarantee_mode,
                  "lent: to others while unused; reserved: kept free")
      ->check(CLI::IsMember({"lent", "reserved"}));
  set->add_option("--limit", arguments.limit, "Bytes at most, or none")->check(check_limit);
  set->add_option("--weight", arguments.weight, "Share among siblings")
      ->check(CLI::Range(1, 10'000));
  set->add_option("--priority", arguments.priority, "Higher is served first");
  set->add_option("--priority-max", arguments.priority_max, "Bound of what its requests may ask");
  set->add_option("--on-overdue", arguments.on_overdue, "What follows a revocation not answered")
      ->check(CLI::IsMember({"warn", "fence"}));
  commands.tenant_remove =
      tenant->add_subcommand("remove", "No grants any more; it goes with its last session");
  commands.tenant_remove->add_option("PATH", arguments.tenant, "E.g. acme/etl")->required();

  CLI::App* capacity = app.add_subcommand("capacity", "Change the budget")->require_subcommand(1);
  capacity->fallthrough();
  commands.capacity_set = capacity->add_subcommand("set", "Lend this many bytes in all");
  commands.capacity_set->add_option("BYTES", arguments.bytes, "E.g. 12GiB")
      ->required()
      ->check(check_bytes);
  commands.capacity_set->add_option("--resource", arguments.resource, "Default: ram");
  commands.drain =
      app.add_subcommand("drain", "No grants any more; ask every lease down to its floor");
}

int exit_code(ErrorCode code) {
  if (code == ErrorCode::kUnavailable) return kExitUnreachable;
  if (code == ErrorCode::kPermissionDenied) return kExitDenied;
  return kExitError;
}

Look look_of(const Console& console) {
  return {console.terminal() ? console.size().width : 0, console.colour(), console.unicode()};
}

int finish(const Status& status, Console& console) {
  if (!status) {
    console.err("membrokerctl: " + status.error().message() + "\n");
    return exit_code(status.error().code());
  }
  if (console.failed()) {
    console.err("membrokerctl: cannot write to standard output; is its disk full?\n");
    return kExitError;
  }
  return kExitOk;
}

// Prints an answer, as JSON or as `text` makes it.
template <class Response, class Text>
int print(const Result<Response>& response, const Arguments& arguments, Console& console,
          Text text) {
  if (!response) return finish(fail(response.error()), console);
  if (arguments.output != "json") {
    console.out(text(*response));
    return finish({}, console);
  }
  const Result<std::string> json = to_json(*response, false);
  if (!json) return finish(fail(json.error()), console);
  console.out(*json);
  return finish({}, console);
}

template <class Response>
int print(const Result<Response>& response, const Arguments& arguments, Console& console) {
  return print(response, arguments, console,
               [&](const Response& shown) { return render(shown, look_of(console)); });
}

int run_revoke(AdminClient& admin, const Arguments& arguments, Console& console) {
  v1::admin::RevokeRequest request;
  request.set_session_id(arguments.session);
  request.set_resource(arguments.resource);
  request.set_bytes(parse_bytes(arguments.bytes).value_or(0));
  return print(admin.revoke(request), arguments, console, [&](const auto& response) {
    return strf("session %llu: %s being revoked, deadline in %s\n",
                static_cast<unsigned long long>(arguments.session),
                format_bytes(response.revoking_bytes()).c_str(),
                format_duration(static_cast<Millis>(response.deadline_ms())).c_str());
  });
}

int run_tenant_set(AdminClient& admin, const Arguments& arguments, const CLI::App& command,
                   Console& console) {
  v1::admin::SetTenantRequest request;
  request.set_path(arguments.tenant);
  request.set_resource(arguments.resource);
  const auto given = [&](const char* option) { return command.count(option) > 0; };
  if (given("--guarantee")) {
    request.set_guarantee_bytes(parse_bytes(arguments.guarantee).value_or(0));
  }
  if (given("--guarantee-mode")) request.set_guarantee_mode(arguments.guarantee_mode);
  if (given("--limit")) request.set_limit_bytes(parse_bytes(arguments.limit).value_or(kBytesMax));
  if (given("--weight")) request.set_weight(arguments.weight);
  if (given("--priority")) request.set_priority(arguments.priority);
  if (given("--priority-max")) request.set_priority_max(arguments.priority_max);
  if (given("--on-overdue")) request.set_on_overdue(arguments.on_overdue);
  return print(admin.set_tenant(request), arguments, console, [&](const auto& response) {
    v1::admin::ListTenantsResponse one;
    *one.add_tenants() = response.tenant();
    return render(one, look_of(console));
  });
}

int run_leases(AdminClient& admin, const Arguments& arguments, Console& console) {
  v1::admin::ListLeasesRequest request;
  request.set_tenant(arguments.tenant);
  request.set_resource(arguments.resource);
  request.set_session_id(arguments.session);
  return print(admin.leases(request), arguments, console);
}

int show_usage(AdminClient& admin, const Arguments& arguments, Console& console) {
  const std::int64_t now_ms = wall_now_ms();
  UsageOptions options;
  options.tenant = arguments.tenant;
  options.resource = arguments.resource;
  options.since_ms = parse_time(arguments.since, now_ms).value_or(0);
  if (!arguments.until.empty()) {
    options.until_ms = parse_time(arguments.until, now_ms).value_or(0);
    if (options.until_ms <= options.since_ms) {
      console.err("membrokerctl: --until " + clean(arguments.until) + " is not after --since " +
                  clean(arguments.since) + "\n");
      return kExitUsage;
    }
  }
  options.json = arguments.output == "json";
  return finish(run_usage(admin, options, look_of(console), console), console);
}

int run_change(AdminClient& admin, const Arguments& arguments, const Commands& commands,
               Console& console) {
  if (commands.revoke->parsed()) return run_revoke(admin, arguments, console);
  if (commands.tenant_set->parsed()) {
    return run_tenant_set(admin, arguments, *commands.tenant_set, console);
  }
  if (commands.tenant_remove->parsed()) {
    v1::admin::RemoveTenantRequest request;
    request.set_path(arguments.tenant);
    return print(admin.remove_tenant(request), arguments, console, [&](const auto&) {
      return "tenant " + clean(arguments.tenant) + " is removed; it goes with its last session\n";
    });
  }
  if (commands.capacity_set->parsed()) {
    v1::admin::SetCapacityRequest request;
    request.set_resource(arguments.resource);
    request.set_capacity_bytes(parse_bytes(arguments.bytes).value_or(0));
    return print(admin.set_capacity(request), arguments, console, [&](const auto& response) {
      return render(response.resource(), look_of(console));
    });
  }
  return print(admin.drain(), arguments, console, [](const auto&) {
    return std::string("draining: no grants any more, every lease is asked down to its floor\n");
  });
}

int run_command(const Arguments& arguments, const Commands& commands, Console& console) {
  const Millis timeout =
      parse_duration(arguments.timeout, kTimeoutLeast, kTimeoutMost).value_or(kTimeoutLeast);
  AdminClient admin(arguments.socket, timeout);
  if (commands.status->parsed()) return print(admin.status(), arguments, console);
  if (commands.tenants->parsed()) {
    v1::admin::ListTenantsRequest request;
    request.set_resource(arguments.resource);
    return print(admin.tenants(request), arguments, console);
  }
  if (commands.sessions->parsed()) {
    v1::admin::ListSessionsRequest request;
    request.set_tenant(arguments.tenant);
    return print(admin.sessions(request), arguments, console);
  }
  if (commands.leases->parsed()) return run_leases(admin, arguments, console);
  if (commands.top->parsed()) {
    TopOptions options;
    options.interval =
        parse_duration(arguments.interval, kIntervalLeast, kIntervalMost).value_or(1000);
    options.count = arguments.count;
    options.resource = arguments.resource;
    options.json = arguments.output == "json";
    return finish(run_top(admin, options, console), console);
  }
  if (commands.events->parsed()) {
    const bool json = arguments.output == "json";
    return finish(run_events(admin, {arguments.follow, arguments.after, json}, console), console);
  }
  if (commands.usage->parsed()) return show_usage(admin, arguments, console);
  return run_change(admin, arguments, commands, console);
}

}  // namespace

std::string default_socket() {
  const char* socket = std::getenv("MEMBROKER_SOCKET");
  if (socket == nullptr || *socket == '\0') return "/run/membroker/admin.sock";
  const std::string path = socket;
  const auto slash = path.rfind('/');
  return (slash == std::string::npos ? std::string() : path.substr(0, slash + 1)) + "admin.sock";
}

int run(const std::vector<std::string>& arguments, Console& console) {
  CLI::App app("Shows and changes what membrokerd lends.", "membrokerctl");
  Arguments values;
  Commands commands;
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", std::string("membrokerctl ") + MEMBROKER_VERSION);
  app.footer("Exit codes: 0 ok, 1 error, 2 usage, 3 daemon unreachable, 4 denied.");
  app.add_option("--socket", values.socket,
                 "The daemon's admin socket; default: beside $MEMBROKER_SOCKET")
      ->capture_default_str();
  app.add_option("-o,--output", values.output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  app.add_option("--timeout", values.timeout, "For each question to the daemon, e.g. 500ms, 5s")
      ->check(check_timeout)
      ->capture_default_str();
  add_reading(app, values, commands);
  add_usage(app, values, commands);
  add_changing(app, values, commands);

  // CLI11 reads its arguments from the back, and tells usage errors and --help by exception.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    const int code = app.exit(error, out, err);
    console.out(out.str());
    // Of a command that does not exist CLI11 says only that one is missing.
    const std::vector<std::string> unknown = app.remaining();
    if (code != 0 && !unknown.empty() && unknown.front()[0] != '-' &&
        app.get_subcommands().empty()) {
      console.err("membrokerctl: there is no command \"" + clean(unknown.front()) + "\"\n");
    }
    if (code != 0) console.err("membrokerctl: " + err.str());
    return code == 0 ? kExitOk : kExitUsage;
  }
  return run_command(values, commands, console);
}

}  // namespace membroker::cli
