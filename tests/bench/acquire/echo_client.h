#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "tests/bench/acquire/echo.grpc.pb.h"

/// \file
/// The two peers of an acquire: an empty frame to the echo server and back.

namespace membroker::bench {

/// A stream on a completion queue of its own. One caller.
class EchoStream {
 public:
  explicit EchoStream(const std::string& socket);
  ~EchoStream();

 protected:
  enum Tag : std::uintptr_t { kStart = 1, kRead, kWrite, kFinish, kWake };
  static void* pointer(Tag tag) {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(tag));
  }

  void write();
  /// Handles an event; true if it was the echo.
  bool on_event(void* tag, bool ok);
  void drain();

  grpc::CompletionQueue queue_;
  bool failed_ = false;
  bool writing_ = false;  // a second write in flight would abort

 private:
  std::unique_ptr<Echo::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<EchoFrame, EchoFrame>> stream_;
  EchoFrame frame_;
};

/// The caller polls the queue itself.
class PollingEcho : public EchoStream {
 public:
  using EchoStream::EchoStream;
  /// False if the stream broke.
  bool round_trip();
};

/// The caller hands over to the thread that owns the queue, by a mutex and an alarm, and waits for
/// it, as a client of libmembroker does.
class HandOffEcho : public EchoStream {
 public:
  explicit HandOffEcho(const std::string& socket);
  ~HandOffEcho();
  bool round_trip();

 private:
  void run();
  void wake();

  std::mutex mutex_;  // guards what follows
  std::condition_variable answered_;
  bool wanted_ = false;
  bool echoed_ = false;
  bool stopping_ = false;
  bool armed_ = false;
  grpc::Alarm alarm_;
  std::thread thread_;
};

}  // namespace membroker::bench
