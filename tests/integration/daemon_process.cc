#include "tests/integration/daemon_process.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace membroker::testing {
namespace {

bool answers(const std::string& socket_path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_path.data(),
              std::min(socket_path.size(), sizeof address.sun_path - 1));
  const bool connected =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return connected;
}

}  // namespace

bool is_alive(pid_t pid) {
  const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat.rfind(')');
  return name_end != std::string::npos && stat.size() > name_end + 2 && stat[name_end + 2] != 'Z';
}

ChildProcess::ChildProcess(std::vector<std::string> command, const std::string& output_file,
                           uid_t uid) {
  int input[2];
  if (::pipe2(input, O_CLOEXEC) != 0) return;
  std::vector<char*> argv;
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(input[0], STDIN_FILENO);
    const int out = ::open(output_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    if (uid != 0) {
      const bool dropped = ::setgroups(0, nullptr) == 0 && ::setgid(uid) == 0 && ::setuid(uid) == 0;
      if (!dropped) ::_exit(126);
    }
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(input[0]);
  input_ = input[1];
}

ChildProcess::~ChildProcess() {
  close_input();
  if (pid_ > 0) {
    signal(SIGKILL);
    static_cast<void>(wait());
  }
}

void ChildProcess::signal(int number) const {
  if (pid_ <= 0 || ::kill(pid_, number) != 0 || number != SIGSTOP) return;
  siginfo_t stopped{};  // its threads stop one by one; the report stays for wait()
  ::waitid(P_PID, static_cast<id_t>(pid_), &stopped, WSTOPPED | WEXITED | WNOWAIT);
}

void ChildProcess::write_line(std::string_view text) const {
  const std::string line = std::string(text) + '\n';
  static_cast<void>(!::write(input_, line.data(), line.size()));
}

void ChildProcess::close_input() {
  if (input_ >= 0) ::close(input_);
  input_ = -1;
}

int ChildProcess::wait(std::chrono::milliseconds most) {
  if (pid_ <= 0) return -1;
  int status = 0;
  const bool ended = comes_true([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }, most);
  if (!ended) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_ = -1;
  if (!ended) return -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

const char* DaemonProcess::default_config() {
  return "[times]\nshutdown_grace = \"1s\"\n"
         "[log]\nlevel = \"debug\"\n"
         "[resources.ram]\ncapacity = \"64MiB\"\nfloor_max = \"4MiB\"\n"
         "[[tenant]]\npath = \"a\"\n"
         "[[tenant]]\npath = \"b\"\n";
}

DaemonProcess::DaemonProcess(std::string program, const std::string& config)
    : program_(std::move(program)) {
  configure(config.empty() ? default_config() : config);
}

void DaemonProcess::configure(const std::string& config) const {
  folder_.write("membrokerd.toml", "runtime_directory = \"" + path("run") + "\"\n" +
                                       "state_directory = \"" + path("state") + "\"\n" + config);
}

bool DaemonProcess::start() {
  process_ = std::make_unique<ChildProcess>(
      std::vector<std::string>{program_, "--config", path("membrokerd.toml")}, path("log"));
  return comes_true(
             [&] { return !running() || (answers(broker_socket()) && answers(admin_socket())); }) &&
         running();
}

int DaemonProcess::stop() {
  process_->signal(SIGTERM);
  return process_->wait();
}

void DaemonProcess::kill9() {
  process_->signal(SIGKILL);
  static_cast<void>(process_->wait());
}

std::string DaemonProcess::log() const { return read_file(path("log")); }

bool DaemonProcess::logs(std::string_view text) const {
  return comes_true([&] { return log().find(text) != std::string::npos; });
}

}  // namespace membroker::testing
