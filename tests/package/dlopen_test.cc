#include <gtest/gtest.h>

#include <tuple>

#include "tests/integration/daemon_process.h"

namespace membroker::testing {
namespace {

using Way = std::tuple<const char*, const char*, const char*>;

class DlopenTest : public ::testing::TestWithParam<Way> {};

std::string name_of(const ::testing::TestParamInfo<Way>& info) {
  const auto& [visibility, order, ending] = info.param;
  return std::string(visibility) + "_" + order + "_" + ending;
}

// What could go wrong: a message registered twice aborts; the library's calls bound to the host's
// messages of the same name corrupt memory (seen, as long as the library exported its own); gRPC
// ending under the library's threads hangs or crashes at exit.
TEST_P(DlopenTest, AHostWithGrpcAndFullProtobufUsesTheLibrary) {
  DaemonProcess daemon(MEMBROKERD);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  const auto& [visibility, order, ending] = GetParam();
  const std::string output = daemon.path("host.log");
  ChildProcess host({DLOPEN_HOST, LIBMEMBROKER, daemon.broker_socket(), daemon.admin_socket(),
                     visibility, order, ending},
                    output);
  const int status = host.wait(std::chrono::seconds(60));
  EXPECT_EQ(status, 0) << read_file(output) << daemon.log();
}

INSTANTIATE_TEST_SUITE_P(Ways, DlopenTest,
                         ::testing::Combine(::testing::Values("local", "global"),
                                            ::testing::Values("host_first", "library_first"),
                                            ::testing::Values("close", "leave_open")),
                         name_of);

}  // namespace
}  // namespace membroker::testing
