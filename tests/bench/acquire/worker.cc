#include "tests/bench/acquire/worker.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

namespace membroker::bench {
namespace {

constexpr int kAnswerSecondsMost = 60;

struct AnswerHead {
  std::int32_t error = 0;   // ErrorCode + 1; 0: good
  std::uint32_t count = 0;  // doubles, or bytes of the error's text
};

bool send_all(int fd, const void* data, std::size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = ::send(fd, at, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

bool receive_all(int fd, void* data, std::size_t size) {
  char* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t received = ::recv(fd, at, size, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    at += received;
    size -= static_cast<std::size_t>(received);
  }
  return true;
}

bool send_answer(int fd, const Result<std::vector<double>>& answer) {
  AnswerHead head;
  if (answer) {
    head.count = static_cast<std::uint32_t>(answer->size());
    return send_all(fd, &head, sizeof(head)) &&
           send_all(fd, answer->data(), answer->size() * sizeof(double));
  }
  const std::string& text = answer.error().message();
  head.error = static_cast<std::int32_t>(answer.error().code()) + 1;
  head.count = static_cast<std::uint32_t>(text.size());
  return send_all(fd, &head, sizeof(head)) && send_all(fd, text.data(), text.size());
}

// The child's life: until the parent closes the channel.
void serve(int fd, const std::function<Result<WorkerFunction>()>& make) {
  const Result<WorkerFunction> function = make();
  Result<std::vector<double>> made = std::vector<double>();
  if (!function) made = fail(function.error());
  if (!send_answer(fd, made) || !function) return;
  WorkerRequest request;
  while (receive_all(fd, &request, sizeof(request))) {
    if (!send_answer(fd, (*function)(request))) return;
  }
}

}  // namespace

Result<std::unique_ptr<Worker>> Worker::start(const std::function<Result<WorkerFunction>()>& make) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(errno_error("socketpair", errno));
  }
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const timeval most = {kAnswerSecondsMost, 0};
  ::setsockopt(ours.get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
  const pid_t pid = ::fork();
  if (pid < 0) return fail(errno_error("fork", errno));
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ours.reset();
    serve(theirs.get(), make);
    ::_exit(0);
  }
  theirs.reset();
  auto worker = std::make_unique<Worker>(pid, std::move(ours));
  if (auto made = worker->answer(); !made) return fail(made.error());
  return worker;
}

Worker::~Worker() {
  channel_.reset();
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<std::vector<double>> Worker::ask(const WorkerRequest& request) {
  if (!send_all(channel_.get(), &request, sizeof(request))) {
    return fail(ErrorCode::kUnavailable, "a client of the bench has ended");
  }
  return answer();
}

Result<std::vector<double>> Worker::answer() {
  const auto ended = [] {
    return fail(ErrorCode::kUnavailable, "a client of the bench ended or did not answer");
  };
  AnswerHead head;
  if (!receive_all(channel_.get(), &head, sizeof(head))) return ended();
  if (head.error != 0) {
    std::string text(head.count, '\0');
    if (!receive_all(channel_.get(), text.data(), text.size())) return ended();
    return fail(static_cast<ErrorCode>(head.error - 1), text);
  }
  std::vector<double> numbers(head.count);
  if (!receive_all(channel_.get(), numbers.data(), numbers.size() * sizeof(double))) {
    return ended();
  }
  return numbers;
}

Status Worker::sample(std::uint32_t count, std::int64_t bytes, std::vector<double>& samples) {
  const auto answer = ask({WorkerRequest::Operation::kSample, count, bytes});
  if (!answer) return fail(answer.error());
  samples.insert(samples.end(), answer->begin(), answer->end());
  return {};
}

}  // namespace membroker::bench
