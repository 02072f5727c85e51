#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "client/examples/external_sort/sort.h"
#include "membroker/client.h"
#include "shared/bytes.h"

/// \file
/// The command line of external_sort. Exit status: 0 sorted, 1 error, 2 usage, 3 the daemon cannot
/// be reached, 4 the daemon refused the session.

namespace {

using namespace membroker;

constexpr std::chrono::seconds kConnectWait{10};
constexpr std::chrono::seconds kWorkspaceWait{60};  // others may have to spill first

struct Arguments {
  external_sort::SortOptions sort;
  std::string tenant;
  std::string socket;
  std::string embedded;
  std::string stats;
};

int complain(const Error& error, int status) {
  std::fprintf(stderr, "external_sort: %s\n", error.message().c_str());
  return status;
}

Result<Client> open_client(Arguments& arguments) {
  if (arguments.embedded.empty()) {
    return Client::open(
        {.tenant = arguments.tenant, .socket = arguments.socket, .client_name = "external_sort"});
  }
  const auto capacity = parse_bytes(arguments.embedded);
  if (!capacity) return fail(capacity.error());
  arguments.sort.sizes = external_sort::Sizes::of_capacity(*capacity);
  return Client::embedded(*capacity);
}

int connect_status(const Error& error) {
  const bool unreachable =
      error.code() == ErrorCode::kTimeout || error.code() == ErrorCode::kUnavailable;
  return unreachable ? 3 : 4;
}

int run(Arguments& arguments) {
  auto client = open_client(arguments);
  if (!client) return complain(client.error(), 2);
  if (arguments.embedded.empty()) {
    if (auto connected = client->wait_connected(kConnectWait); !connected) {
      return complain(connected.error(), connect_status(connected.error()));
    }
  }
  arguments.sort.workspace = [&] { return client->spill_workspace(kWorkspaceWait); };
  auto stats = external_sort::sort_file(client->pool(), arguments.sort);
  if (!stats) return complain(stats.error(), 1);
  if (!arguments.stats.empty()) {
    if (auto written = stats->write_json(arguments.stats, client->stats()); !written) {
      return complain(written.error(), 1);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{
      "Sorts the lines of a file by their bytes, as LC_ALL=C sort does, in memory lent by "
      "membrokerd: what does not fit is spilled to temporary files."};
  app.add_option("INPUT", arguments.sort.input, "File to sort")->required();
  app.add_option("-o,--output", arguments.sort.output, "File to write; - is the standard output")
      ->capture_default_str();
  app.add_option("--tenant", arguments.tenant,
                 "Tenant whose memory is used; else MEMBROKER_TENANT");
  app.add_option("--socket", arguments.socket,
                 "The daemon's socket; else MEMBROKER_SOCKET, else "
                 "/run/membroker/broker.sock");
  app.add_option("-T,--temp-dir", arguments.sort.temp_dirs,
                 "Directory for spill files; may be repeated")
      ->capture_default_str();
  app.add_option("--stats", arguments.stats, "File for what was done, as JSON");
  app.add_option("--embedded", arguments.embedded, "No daemon: this much memory, e.g. 64MiB");
  app.footer("Exit codes: 0 ok, 1 error, 2 usage, 3 daemon unreachable, 4 refused by the daemon.");
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return std::string("external_sort: ") + error.what() +
           "\nRun with --help for more information.\n";
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return run(arguments);
}
