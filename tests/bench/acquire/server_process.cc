#include "tests/bench/acquire/server_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "shared/fd.h"
#include "shared/format.h"

namespace membroker::bench {
namespace {

constexpr auto kStartMost = std::chrono::seconds(20);
constexpr auto kStopMost = std::chrono::seconds(10);
constexpr auto kPollInterval = std::chrono::milliseconds(2);

bool somebody_listens(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof(address.sun_path)) return false;
  std::memcpy(address.sun_path, socket.c_str(), socket.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return fd &&
         ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

bool has_ended(pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) == pid; }

}  // namespace

Result<std::unique_ptr<ServerProcess>> ServerProcess::start(
    const std::string& program, const std::vector<std::string>& arguments,
    const std::string& socket) {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const std::string path = folder / program;
  if (!std::filesystem::exists(path)) {
    return fail(ErrorCode::kNotFound, path + " is not built");
  }
  std::vector<std::string> words = {path};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail(errno_error("fork", errno));
  if (pid == 0) {
    // The server must not outlive a bench that is killed.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    const int null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, STDOUT_FILENO);
    ::execv(path.c_str(), argv.data());
    ::_exit(127);
  }
  auto process = std::make_unique<ServerProcess>(pid);
  const auto end = std::chrono::steady_clock::now() + kStartMost;
  while (!somebody_listens(socket)) {
    if (has_ended(pid)) return fail(ErrorCode::kUnavailable, program + " ended at once");
    if (std::chrono::steady_clock::now() > end) {
      return fail(ErrorCode::kTimeout, program + " does not listen on " + socket);
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return process;
}

std::int64_t ServerProcess::anonymous_bytes() const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  std::string word;
  while (status >> word) {
    std::int64_t kib = 0;
    if (word == "RssAnon:" && status >> kib) return kib * 1024;
  }
  return 0;
}

ServerProcess::~ServerProcess() {
  ::kill(pid_, SIGTERM);
  const auto end = std::chrono::steady_clock::now() + kStopMost;
  while (!has_ended(pid_)) {
    if (::kill(pid_, 0) != 0) return;  // it had ended before
    if (std::chrono::steady_clock::now() > end) ::kill(pid_, SIGKILL);
    std::this_thread::sleep_for(kPollInterval);
  }
}

}  // namespace membroker::bench
