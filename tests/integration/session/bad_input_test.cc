// What a peer can do wrong: one clear error each, and nobody else notices.

#include <grpcpp/generic/generic_stub.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "shared/fd.h"
#include "tests/integration/session/session_fixture.h"
#include "tests/kit/unix_socket.h"

namespace membroker::testing {
namespace {

using ::testing::HasSubstr;

std::string http2_frame(char type, char flags, char stream, const std::string& payload) {
  std::string frame{0,
                    static_cast<char>(payload.size() >> 8),
                    static_cast<char>(payload.size()),
                    type,
                    flags,
                    0,
                    0,
                    0,
                    stream};
  return frame + payload;
}

/// The headers of a gRPC call, and an empty request.
std::string http2_call(char stream, const std::string& path) {
  std::string headers;
  for (const auto& [name, value] : {std::pair<std::string, std::string>{":method", "POST"},
                                    {":scheme", "http"},
                                    {":path", path},
                                    {":authority", "localhost"},
                                    {"te", "trailers"},
                                    {"content-type", "application/grpc"}}) {
    headers += '\0';  // a literal, not to be indexed
    headers += static_cast<char>(name.size()) + name + static_cast<char>(value.size()) + value;
  }
  return http2_frame(1, 4, stream, headers) + http2_frame(0, 0, stream, std::string(5, '\0'));
}

class BadInputTest : public SessionTest {
 protected:
  void TearDown() override {
    expect_serving();
    SessionTest::TearDown();
  }
  static void expect_end(RawSession& session, grpc::StatusCode code, const std::string& text) {
    const grpc::Status status = session.end();
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  }
  UniqueFd raw_connection() const {
    UniqueFd fd = connect_to(daemon_.broker_socket());
    EXPECT_TRUE(fd);
    timeval patience{8, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
  }
  /// Reads until the daemon closes; false if it does not.
  static bool is_closed(const UniqueFd& fd) {
    char bytes[4096];
    ssize_t size = 0;
    while ((size = ::read(fd.get(), bytes, sizeof bytes)) > 0) {
    }
    return size == 0 || errno == ECONNRESET;
  }
};

TEST_F(BadInputTest, EachDoorHasItsOwnService) {
  RawAdmin at_the_clients(daemon_.broker_socket());
  grpc::ClientContext context;
  set_deadline(context);
  v1::admin::DrainResponse response;
  const grpc::Status drained = at_the_clients.stub().Drain(&context, {}, &response);
  EXPECT_EQ(drained.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(drained.error_message(), HasSubstr("connect to the admin socket"));
  EXPECT_EQ(admin_->status().state(), "serving");

  RawSession at_the_admins(daemon_.admin_socket());
  EXPECT_FALSE(at_the_admins.attach(hello("a", claim(0))));
  expect_end(at_the_admins, grpc::StatusCode::UNAUTHENTICATED,
             "connect to the broker's own socket");
}

TEST_F(BadInputTest, AMethodThatNoServiceHas) {
  for (const std::string& socket : {daemon_.broker_socket(), daemon_.admin_socket()}) {
    grpc::GenericStub stub(
        grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    set_deadline(context);
    grpc::CompletionQueue queue;
    auto call = stub.PrepareUnaryCall(&context, "/membroker.v1.Broker/Nothing", {}, &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("no method /membroker.v1.Broker/Nothing"));
  }
}

/// Answers to pings fill each connection, so that the answer to a call cannot be sent.
TEST_F(BadInputTest, PeersThatDoNotReadKeepNoAdminOutAndNoEndUp) {
  std::string begin = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(4, 0, 0, "");
  begin += http2_call(1, "/membroker.v1.Broker/Session");  // else it is closed as one without RPC
  for (int i = 0; i < 20'000; ++i) begin += http2_frame(6, 0, 0, "12345678");
  std::vector<UniqueFd> peers;
  for (const char* method : {"admin.Admin/GetStatus", "Broker/Nothing"}) {
    const std::string bytes = begin + http2_call(3, "/membroker.v1." + std::string(method));
    for (int i = 0; i < 10; ++i) {
      peers.push_back(raw_connection());
      const timeval patience{0, 300'000};
      ::setsockopt(peers.back().get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
      ssize_t sent = 0;
      for (std::size_t at = 0; at < bytes.size() && sent >= 0;
           at += static_cast<std::size_t>(sent)) {
        sent = ::send(peers.back().get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      }
    }
    for (int i = 0; i < 3; ++i) {
      grpc::ClientContext context;
      set_deadline(context);
      v1::admin::GetStatusResponse response;
      const grpc::Status status = admin_->stub().GetStatus(&context, {}, &response);
      EXPECT_TRUE(status.ok()) << method << ": " << status.error_message();
    }
  }
  EXPECT_EQ(daemon_.stop(), 0) << "not within the bound, so it was killed";
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
}

TEST_F(BadInputTest, AnAdminsRequestOverTheLimit) {
  v1::admin::RemoveTenantRequest request;
  request.set_path(std::string(65 * 1024, 'x'));
  grpc::ClientContext context;
  set_deadline(context);
  v1::admin::RemoveTenantResponse response;
  const grpc::Status removed = admin_->stub().RemoveTenant(&context, request, &response);
  EXPECT_EQ(removed.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(removed.error_message(), HasSubstr("the limit is 65536"));
}

TEST_F(BadInputTest, UnknownTenant) {
  auto session = connect();
  EXPECT_FALSE(session->attach(hello("nobody", claim(0))));
  expect_end(*session, grpc::StatusCode::NOT_FOUND, "there is no tenant nobody");
}

TEST_F(BadInputTest, UnknownResource) {
  auto session = connect();
  v1::Hello message = hello("a", claim(0));
  message.mutable_leases(0)->set_resource("gpu");
  EXPECT_FALSE(session->attach(message));
  expect_end(*session, grpc::StatusCode::NOT_FOUND, "there is no resource gpu");
}

TEST_F(BadInputTest, FloorAboveTheMaximum) {
  auto session = connect();
  EXPECT_FALSE(session->attach(hello("a", claim(5 * kMiB))));
  expect_end(*session, grpc::StatusCode::RESOURCE_EXHAUSTED, "a floor of 5.0 MiB is refused");
}

TEST_F(BadInputTest, AFrameOver256KiB) {
  auto session = open("a");
  v1::ClientMessage message = progress(v1::Revoke{}, v1::REVOKE_STATE_WORKING);
  message.mutable_progress()->set_reason(std::string(257 * 1024, 'x'));
  session->send({message});
  expect_end(*session, grpc::StatusCode::RESOURCE_EXHAUSTED, "bytes; the limit is 262144");
}

TEST_F(BadInputTest, AFrameOfManyMiB) {
  auto session = open("a");
  v1::ClientMessage message = progress(v1::Revoke{}, v1::REVOKE_STATE_WORKING);
  message.mutable_progress()->set_reason(std::string(8 * 1024 * 1024, 'x'));
  session->send({message});
  expect_end(*session, grpc::StatusCode::RESOURCE_EXHAUSTED, "larger than max");
}

TEST_F(BadInputTest, MoreThan64Messages) {
  auto session = open("a");
  v1::ClientFrame frame;
  frame.set_epoch(session->welcome().epoch());
  frame.set_attach(1);
  for (std::uint64_t i = 1; i <= 65; ++i) *frame.add_messages() = acquire(i, 1, 1, 0);
  session->send_frame(frame);
  expect_end(*session, grpc::StatusCode::RESOURCE_EXHAUSTED, "65 messages; the limit is 64");
  EXPECT_TRUE(admin_->session_becomes(session->welcome().session_id(), "suspect"));
}

TEST_F(BadInputTest, AMessageThatIsNoFrame) {
  auto session = open("a");
  v1::ClientMessage message = acquire(1, 1, 1, 0);
  message.mutable_acquire()->set_resource("\xff\xfe");  // no UTF-8, so nothing that parses
  session->send({message});
  expect_end(*session, grpc::StatusCode::INVALID_ARGUMENT, "that is no ClientFrame");
}

TEST_F(BadInputTest, ReleaseOfMoreThanIsHeld) {
  auto session = open("a");
  session->send({acquire(1, kMiB, kMiB, 0), release(2 * kMiB)});
  expect_end(*session, grpc::StatusCode::INVALID_ARGUMENT, "above granted_total");
  EXPECT_TRUE(held_becomes(kMiB));
}

TEST_F(BadInputTest, GarbageOnTheSocket) {
  const UniqueFd fd = raw_connection();
  std::string garbage(4096, '\0');
  for (std::size_t i = 0; i < garbage.size(); ++i) garbage[i] = static_cast<char>(i * 37 + 11);
  EXPECT_GT(::write(fd.get(), garbage.data(), garbage.size()), 0);
  EXPECT_TRUE(is_closed(fd));
}

TEST_F(BadInputTest, APeerThatSaysNothingIsClosedInTime) {
  const UniqueFd fd = raw_connection();
  EXPECT_TRUE(is_closed(fd));
}

TEST_F(BadInputTest, HalfAPrefaceThenGone) {
  UniqueFd fd = raw_connection();
  EXPECT_EQ(::write(fd.get(), "PRI * HTTP/2.0\r\n", 16), 16);
  fd.reset();
}

TEST_F(BadInputTest, AStreamThatEndsWithoutGoodbyeMakesSuspect) {
  auto session = open("a");
  session->cancel();
  EXPECT_TRUE(admin_->session_becomes(session->welcome().session_id(), "suspect"));
}

TEST_F(BadInputTest, AClientThatAsksAndNeverReadsLosesItsStream) {
  RawSession session(daemon_.broker_socket(), false);
  session.set_fences(admin_->status().epoch(), 1);
  v1::ClientFrame first;
  first.set_attach(1);
  *first.add_messages()->mutable_hello() = hello("a", claim(0));
  ASSERT_TRUE(session.send_frame(first));
  v1::ClientFrame frame;
  frame.set_epoch(admin_->status().epoch());
  frame.set_attach(1);
  for (std::uint64_t i = 1; i <= 64; ++i) {
    *frame.add_messages() = acquire(i, 1, 1, 0);
    frame.mutable_messages()->rbegin()->mutable_acquire()->set_resource(std::string(128, 'x'));
  }
  // gRPC takes a window full of answers; what comes after them waits in the broker, and is bounded.
  int frames = 0;
  while (frames < 20'000 && session.send_frame(frame)) ++frames;
  EXPECT_LT(frames, 20'000);
  EXPECT_TRUE(daemon_.logs("256 answers are unread"));
  EXPECT_TRUE(comes_true([&] {
    const auto now = admin_->sessions();
    return now.sessions_size() == 1 && now.sessions(0).state() == "suspect";
  }));
}

class WrongUidTest : public SessionTest {
 protected:
  static constexpr uid_t kOther = 4711;
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
    daemon_.configure(std::string("[socket]\nmode = \"0666\"\n[admin]\nmode = \"0666\"\n") +
                      "[resources.ram]\ncapacity = \"64MiB\"\n"
                      "[[tenant]]\npath = \"a\"\nuids = [0]\n"
                      "[[tenant]]\npath = \"b\"\n");
    SessionTest::SetUp();
  }
  std::string run_as_other(const std::string& tenant) {
    const std::string output = daemon_.path("other-" + tenant);
    std::ofstream(output).close();
    std::filesystem::permissions(output, std::filesystem::perms::all);
    ChildProcess client({RAW_CLIENT, daemon_.broker_socket(), tenant, "1048576"}, output, kOther);
    client.close_input();
    static_cast<void>(client.wait());
    return read_file(output);
  }
};

TEST_F(WrongUidTest, IsToldWhichUidMayNotUseWhichTenant) {
  EXPECT_THAT(run_as_other("a"), HasSubstr("refused uid 4711 (gid 4711) may not use tenant a"));
  EXPECT_THAT(run_as_other("b"), HasSubstr("granted"));
  expect_serving();
}

}  // namespace
}  // namespace membroker::testing
