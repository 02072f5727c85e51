// A client process for tests that kill, stop or abandon it.
//
//   raw_client SOCKET TENANT BYTES [fork]
//
// Opens a session, acquires BYTES, prints "granted SESSION" or "refused WHY", with `fork` leaves a
// child behind that holds all descriptors ("child PID"), and stays until its input ends.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/integration/raw_session.h"
#include "tests/unit/broker/messages.h"

int main(int argc, char** argv) {
  using namespace membroker::testing;
  if (argc < 4) return 2;
  RawSession session(argv[1]);
  if (!session.attach(hello(argv[2], claim(0)))) {
    std::printf("refused %s\n", session.end().error_message().c_str());
    return 1;
  }
  const long long bytes = std::atoll(argv[3]);
  session.send({acquire(1, bytes, bytes, 0)});
  if (!session.granted(1)) {
    std::printf("refused\n");
    return 1;
  }
  if (argc > 4 && std::string(argv[4]) == "fork") {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();  // no gRPC in here: it would hang
    }
    std::printf("child %d\n", child);
  }
  std::printf("granted %llu\n", static_cast<unsigned long long>(session.welcome().session_id()));
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  std::fflush(stdout);
  ::_exit(0);
}
