#include <algorithm>
#include <optional>

#include "tests/unit/tidy/lint.h"

namespace membroker::tidy {
namespace {

/// What a folder may include. The first entry whose folder contains the file decides.
struct Layer {
  std::string_view folder;
  std::vector<std::string_view> own;      // quoted includes that start so
  std::vector<std::string_view> foreign;  // libraries of kLibraries, by their name there
};

/// Libraries that only some layers may see; all others (the standard library, the system) are free.
struct Library {
  std::string_view name;
  std::vector<std::string_view> starts;  // of the include's path
};

const std::vector<Library>& libraries() {
  static const std::vector<Library> all = {
      {"gpr", {"grpc/support/"}},  // gRPC's own log, which the daemon writes into its own
      {"grpc", {"grpcpp/", "grpc/", "grpc++/"}},
      {"protobuf", {"google/protobuf/", "membroker/v1/"}},
      {"asio", {"asio.hpp", "asio/"}},
      {"spdlog", {"spdlog/", "fmt/"}},
      {"cli11", {"CLI/"}},
      {"toml++", {"toml++/", "toml.hpp", "toml.h"}},
      {"sqlite", {"sqlite3.h"}},
      {"io_uring", {"liburing.h", "liburing/"}},
      {"compression", {"zstd.h", "lz4.h", "lz4frame.h"}},
      {"mimalloc", {"mimalloc.h", "mimalloc"}},
      {"systemd", {"systemd/"}},
      {"absl", {"absl/"}},
  };
  return all;
}

// The table of architecture.md: includes point downwards only. Public headers ("membroker/…") are
// the client's; of them the daemon's side speaks membroker/error.h alone.
const std::vector<Layer>& layers() {
  static const std::vector<Layer> all = {
      {"shared/include/", {"membroker/error.h"}, {}},
      {"shared/", {"shared/", "membroker/error.h"}, {}},
      {"server/arbiter/", {"shared/", "membroker/error.h", "server/arbiter/"}, {}},
      // Messages without gRPC: an outbox holds frames.
      {"server/broker/",
       {"shared/", "membroker/error.h", "server/arbiter/", "server/broker/"},
       {"asio", "spdlog", "sqlite", "protobuf"}},
      {"server/rpc/",
       {"shared/", "membroker/error.h", "server/arbiter/", "server/broker/", "server/rpc/"},
       {"gpr", "grpc", "protobuf", "asio", "spdlog"}},
      {"server/http/",
       {"shared/", "membroker/error.h", "server/arbiter/", "server/broker/", "server/http/"},
       {"asio", "spdlog"}},
      {"server/app/",
       {"shared/", "membroker/error.h", "server/"},
       {"gpr", "asio", "spdlog", "cli11", "toml++", "systemd"}},
      {"client/include/", {"membroker/"}, {}},
      // Messages without gRPC: the protocol's pure half, which the simulator runs.
      {"client/lease/", {"shared/", "membroker/", "client/lease/"}, {"protobuf"}},
      {"client/memory/",
       {"shared/", "membroker/", "client/lease/", "client/memory/"},
       {"mimalloc"}},
      {"client/spill/",
       {"shared/", "membroker/", "client/lease/", "client/memory/", "client/spill/"},
       {"io_uring", "compression"}},
      {"client/transport/",
       {"shared/", "membroker/", "client/lease/", "client/transport/"},
       {"gpr", "grpc", "protobuf"}},
      {"client/cli/",
       {"shared/", "membroker/error.h", "client/cli/"},
       {"grpc", "protobuf", "cli11"}},
      // The demonstration is a program of the house; what a user starts from has the public
      // headers.
      {"client/examples/external_sort/",
       {"shared/", "membroker/", "client/examples/external_sort/"},
       {"cli11"}},
      {"client/examples/", {"membroker/", "client/examples/"}, {"cli11"}},
      {"client/", {"shared/", "membroker/", "client/"}, {}},
      // Small tools of the demonstration.
      {"deploy/", {"shared/", "membroker/", "deploy/"}, {}},
  };
  return all;
}

// The core decides from (state, now, event) alone: nothing here may bring a clock, a thread, a
// lock, I/O, chance or an order that changes from run to run. client/lease is the client's core.
const std::vector<std::string_view>& banned_in_cores() {
  static const std::vector<std::string_view> all = {
      "thread",        "mutex",         "shared_mutex", "condition_variable",
      "future",        "chrono",        "ctime",        "time.h",
      "fstream",       "iostream",      "random",       "filesystem",
      "cstdio",        "stdio.h",       "unistd.h",     "fcntl.h",
      "unordered_map", "unordered_set", "sys/socket.h", "pthread.h"};
  return all;
}

struct Include {
  std::string_view path;
  bool quoted = false;
};

std::optional<Include> include_of(std::string_view line) {
  if (!line.starts_with("#")) return std::nullopt;
  line.remove_prefix(std::min(line.find_first_not_of(" \t", 1), line.size()));
  if (!line.starts_with("include")) return std::nullopt;
  const std::size_t open = line.find_first_of("\"<");
  if (open == std::string_view::npos) return std::nullopt;
  const std::size_t close = line.find_first_of("\">", open + 1);
  if (close == std::string_view::npos) return std::nullopt;
  return Include{line.substr(open + 1, close - open - 1), line[open] == '"'};
}

bool starts_with_any(std::string_view text, const std::vector<std::string_view>& starts) {
  return std::any_of(starts.begin(), starts.end(),
                     [&](std::string_view start) { return text.starts_with(start); });
}

const Library* library_of(std::string_view include) {
  if (include.ends_with(".grpc.pb.h")) include = "grpcpp/";
  for (const Library& library : libraries()) {
    if (starts_with_any(include, library.starts)) return &library;
  }
  return nullptr;
}

std::string judge(const Layer& layer, const Include& include) {
  const std::string folder(layer.folder);
  const std::string path(include.path);
  if (const Library* library = library_of(include.path); library != nullptr) {
    const bool allowed =
        std::find(layer.foreign.begin(), layer.foreign.end(), library->name) != layer.foreign.end();
    return allowed ? "" : folder + " may not see " + std::string(library->name) + ": " + path;
  }
  const bool core = layer.folder == "server/arbiter/";
  const auto& banned = banned_in_cores();
  if (core && std::find(banned.begin(), banned.end(), include.path) != banned.end()) {
    return folder + " is a pure core and may not include <" + path + ">";
  }
  // Our own headers in angle brackets would slip past the layers.
  const bool ours =
      include.quoted ||
      starts_with_any(include.path, {"shared/", "server/", "client/", "membroker/", "tests/"});
  if (!ours || starts_with_any(include.path, layer.own)) return "";
  return folder + " may not include " + path + ", which is no lower layer";
}

}  // namespace

Findings lint_includes(const File& file) {
  Findings findings;
  if (!is_cpp(file.path)) return findings;
  const Layer* layer = nullptr;
  for (const Layer& candidate : layers()) {
    if (file.path.starts_with(candidate.folder)) {
      layer = &candidate;
      break;
    }
  }
  if (layer == nullptr) {
    if (!file.path.starts_with("tests/"))
      findings.push_back({file.path, 0, "a folder of no layer"});
    return findings;
  }
  const std::vector<std::string_view> lines = lines_of(file.text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::optional<Include> include = include_of(lines[i]);
    if (!include) continue;
    const std::string what = judge(*layer, *include);
    if (!what.empty()) findings.push_back({file.path, i + 1, what});
  }
  return findings;
}

}  // namespace membroker::tidy
