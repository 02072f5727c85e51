// A client process for tests that kill, stop or abandon it.
//
//   raw_client SOCKET TENANT BYTES [fork | hold | wait]
//   raw_client idle
//
// Opens a session, acquires BYTES, prints "granted SESSION" or "refused WHY", and stays until its
// input ends. `fork` leaves a child behind that holds all descriptors ("child PID"), `hold` one
// that shares BYTES of touched memory, too; `wait` asks for the bytes with a minute's patience. A
// line of input "exec PROGRAM WORD" makes it run that. `idle` does nothing until its input ends.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>

#include "tests/integration/raw_session.h"
#include "tests/unit/broker/messages.h"

namespace {

// Returns when the input has ended.
void obey() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string exec;
    std::string program;
    std::string word;
    words >> exec >> program >> word;
    if (exec == "exec") ::execl(program.c_str(), program.c_str(), word.c_str(), nullptr);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace membroker::testing;
  if (argc == 2 && std::strcmp(argv[1], "idle") == 0) {
    obey();
    return 0;
  }
  if (argc < 4) return 2;
  RawSession session(argv[1]);
  if (!session.attach(hello(argv[2], claim(0)))) {
    std::printf("refused %s\n", session.end().error_message().c_str());
    return 1;
  }
  const long long bytes = std::atoll(argv[3]);
  const std::string how = argc > 4 ? argv[4] : "";
  session.send({acquire(1, bytes, bytes, how == "wait" ? 60'000 : 0)});
  const auto answer = session.take(
      [](const auto& message) { return message.has_granted() || message.has_denied(); },
      std::chrono::minutes(2));
  if (!answer || !answer->has_granted()) {
    std::printf("refused\n");
    return 1;
  }
  void* memory = how == "hold" ? std::malloc(static_cast<std::size_t>(bytes)) : nullptr;
  if (memory != nullptr) std::memset(memory, 1, static_cast<std::size_t>(bytes));
  if (how == "fork" || how == "hold") {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();  // no gRPC in here: it would hang
    }
    std::printf("child %d\n", child);
  }
  std::printf("granted %llu\n", static_cast<unsigned long long>(session.welcome().session_id()));
  std::fflush(stdout);
  obey();
  std::fflush(stdout);
  ::_exit(0);
}
