#include "tests/bench/acquire/echo_client.h"

#include <chrono>

namespace membroker::bench {
namespace {

constexpr auto kAnswerMost = std::chrono::seconds(10);

}  // namespace

EchoStream::EchoStream(const std::string& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  stub_ = Echo::NewStub(
      grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments));
  stream_ = stub_->PrepareAsyncRun(&context_, &queue_);
  stream_->StartCall(pointer(kStart));
  void* tag = nullptr;
  bool ok = false;
  failed_ = !queue_.Next(&tag, &ok) || !ok;
  if (!failed_) stream_->Read(&frame_, pointer(kRead));
}

EchoStream::~EchoStream() { drain(); }

void EchoStream::drain() {
  context_.TryCancel();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

void EchoStream::write() {
  writing_ = true;
  stream_->Write(EchoFrame(), pointer(kWrite));
}

bool EchoStream::on_event(void* tag, bool ok) {
  if (tag == pointer(kWake)) return false;
  if (tag == pointer(kWrite)) writing_ = false;
  if (!ok) failed_ = true;
  if (tag != pointer(kRead) || !ok) return false;
  stream_->Read(&frame_, pointer(kRead));
  return true;
}

bool PollingEcho::round_trip() {
  bool written = false;
  bool echoed = false;
  while (!echoed && !failed_) {
    // The end of the last round's write may come after its echo.
    if (!written && !writing_) {
      write();
      written = true;
    }
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kAnswerMost) !=
        grpc::CompletionQueue::GOT_EVENT) {
      return false;
    }
    echoed = on_event(tag, ok);
  }
  return !failed_;
}

HandOffEcho::HandOffEcho(const std::string& socket)
    : EchoStream(socket), thread_([this] { run(); }) {}

HandOffEcho::~HandOffEcho() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake();
  }
  thread_.join();
}

void HandOffEcho::wake() {
  if (armed_) return;
  armed_ = true;
  // Now would be rounded up to the next millisecond.
  alarm_.Set(&queue_, gpr_inf_past(GPR_CLOCK_MONOTONIC), pointer(kWake));
}

void HandOffEcho::run() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    const bool echoed = on_event(tag, ok);
    bool send = false;
    {
      const std::lock_guard lock(mutex_);
      if (tag == pointer(kWake)) armed_ = false;
      if (stopping_) return;
      if (echoed || failed_) {
        echoed_ = true;
        answered_.notify_one();
      }
      send = wanted_ && !writing_ && !failed_;
      if (send) wanted_ = false;
    }
    if (send) write();
  }
}

bool HandOffEcho::round_trip() {
  std::unique_lock lock(mutex_);
  wanted_ = true;
  echoed_ = false;
  wake();
  return answered_.wait_for(lock, kAnswerMost, [&] { return echoed_; }) && !failed_;
}

}  // namespace membroker::bench
