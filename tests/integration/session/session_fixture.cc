#include "tests/integration/session/session_fixture.h"

#include <fstream>
#include <sstream>

namespace membroker::testing {

SessionTest::Client SessionTest::client(const std::string& tenant, Bytes bytes,
                                        const std::string& how) {
  const std::string output = daemon_.path("client" + std::to_string(++clients_));
  std::vector<std::string> command{RAW_CLIENT, daemon_.broker_socket(), tenant,
                                   std::to_string(bytes)};
  if (!how.empty()) command.push_back(how);
  Client started;
  started.process = std::make_unique<ChildProcess>(command, output);
  const bool granted = comes_true([&] {
    std::ifstream lines(output);
    for (std::string word; lines >> word;) {
      if (word == "child") lines >> started.child;
      if (word == "granted") lines >> started.session;
    }
    return started.session != 0;
  });
  EXPECT_TRUE(granted);
  return started;
}

void SessionTest::expect_serving() {
  EXPECT_TRUE(daemon_.running());
  auto other = open("b", 'z');
  ASSERT_TRUE(other->send({acquire(1, kMiB, kMiB, 0)}));
  EXPECT_TRUE(other->granted(1).has_value());
  ASSERT_TRUE(other->send({release(kMiB), goodbye()}));
  EXPECT_TRUE(other->end().ok());
}

}  // namespace membroker::testing
