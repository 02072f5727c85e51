#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/lease/lease_source.h"
#include "membroker/v1/session.pb.h"

/// \file
/// The client's end of the session protocol (proto/membroker/v1/session.proto, architecture.md "The
/// protocol") without thread, clock or gRPC: frames and instants in, frames out. The transport
/// moves them; the simulator moves them over links that misbehave.
///
///     stream up:      write(protocol.begin_attach(now));
///     frame read:     if (!protocol.on_frame(frame, now)) reconnect;
///     may write:      if (auto frame = protocol.next_frame(now)) write(*frame);
///     at a deadline:  if (!protocol.check_alive(now)) reconnect;
///     stream lost:    protocol.on_stream_lost(why, final);
///
/// It keeps no totals: the leases own them and are asked while a frame is composed, so whatever is
/// lost with a stream is said again by the next Hello. Before begin_attach() the caller must have
/// stopped the old stream and dropped what it had not read; the fences are a second belt.
///
/// Thread: one at a time. It calls the listeners back from on_frame() and on_stream_lost() only.

namespace membroker::lease {

/// Sessions with more resources than this are refused by ClientOptions.
inline constexpr std::size_t kLeasesPerSessionMax = 8;
inline constexpr std::size_t kFrameMessagesMax = 64;
inline constexpr std::size_t kProgressReasonBytesMax = 256;

struct SessionIdentity {
  std::string tenant;
  std::string client_name;
  std::map<std::string, std::string> labels;
  std::array<std::uint8_t, 16> token{};  // made with the session
  std::int32_t priority = 0;
};

/// One lease of the session; the listener outlives the protocol.
struct SessionLease {
  std::string resource;
  LeaseListener* listener = nullptr;
};

struct SessionCounters {
  std::uint64_t resumed = 0;       // Welcomes after the first
  std::uint64_t stale_frames = 0;  // of another (epoch, attach)
  std::uint64_t odd_messages = 0;  // ignored: unknown kind, resource or values
};

class SessionProtocol {
 public:
  /// At least one and at most kLeasesPerSessionMax leases.
  SessionProtocol(SessionIdentity identity, std::vector<SessionLease> leases);

  /// Composes the Hello of the next attach. Requests queued for the old stream are dropped: the
  /// listeners send those still open again when they are told on_attached().
  v1::ClientFrame begin_attach(Instant now);

  /// Takes a frame of the present stream. A stale one changes nothing and is no error. On an error
  /// (a frame against the protocol, Fenced, an older epoch) the caller ends the stream and attaches
  /// again; what the frame said before the fault has taken effect.
  Status on_frame(const v1::ServerFrame& frame, Instant now);

  /// The stream is gone, or could not be had. Tells the listeners. `final`: no attempt will follow.
  void on_stream_lost(const Error& why, bool final);

  /// What is to be said by now, if anything; at most kFrameMessagesMax messages. Nothing until
  /// attached. Call again while it returns frames.
  std::optional<v1::ClientFrame> next_frame(Instant now);
  /// When next_frame() may have something although nothing happens in between.
  Instant send_deadline() const;

  /// kUnavailable once the daemon was silent longer than the session's time to live. A pause of
  /// this process itself (SIGSTOP) is not silence of the daemon.
  Status check_alive(Instant now);
  /// When to call check_alive() at the latest.
  Instant alive_deadline() const;

  /// The LeaseSource of lease number `lease`, with the present time. While not attached, acquire
  /// and cancel change nothing: on_attached() makes the listener send them (again).
  void acquire(std::size_t lease, const LeaseRequest& request, Instant now);
  void cancel(std::size_t lease, RequestId id);
  void changed(std::size_t lease, bool urgent, Instant now);
  void progress(std::size_t lease, RevocationId id, Bytes target, RevokeState state,
                const std::string& reason);

  /// From now on nothing is asked for, what is open is cancelled, and Goodbye is said as soon as
  /// all is answered and nothing is held but the floors.
  void begin_goodbye();
  bool goodbye_sent() const { return goodbye_sent_; }
  /// Nothing is held but the floors. Asks the listeners.
  bool only_floors() const;

  /// Asks for smaller floors in the next Hello of a session not yet open: half of the last one's,
  /// down to 1 MiB, then none; false if there were none.
  bool lower_floors();

  bool attached() const { return attached_; }
  bool ever_attached() const { return ever_attached_; }
  std::uint64_t session_id() const { return session_id_; }
  Epoch epoch() const { return epoch_; }
  Attach attach() const { return attach_; }
  const SessionCounters& counters() const { return counters_; }

 private:
  struct Progress {
    RevocationId id;
    Bytes target = 0;
    RevokeState state = RevokeState::kWorking;
    std::string reason;
  };
  struct Lease {
    std::string resource;
    LeaseListener* listener = nullptr;
    bool attached = false;  // its LeaseSet of this attach was read
    Bytes floor = 0;
    Bytes debt = 0;
    Bytes sent_overdrawn = 0;  // largest totals said on this stream
    Bytes sent_returned = 0;
    LeaseFigures said;                 // of the last Inventory
    std::optional<Progress> progress;  // the latest only: older ones are history
  };
  struct Outgoing {
    std::size_t lease = 0;
    bool is_cancel = false;
    LeaseRequest request;  // of a cancel: its id only
    Instant deadline;
  };

  Status on_welcome(const v1::ServerFrame& frame, Instant now);
  Status on_message(const v1::ServerMessage& message);
  Status on_lease_set(const v1::LeaseSet& set);
  Status on_granted(const v1::Granted& granted);
  Status on_denied(const v1::Denied& denied);
  void answered(std::uint64_t request);
  void on_revoke(const v1::Revoke& revoke);
  void on_pulse(const v1::Pulse& pulse);
  Lease* find(const std::string& resource);
  static bool only_floor(const Lease& lease, const LeaseFigures& figures);
  void compose_totals(Lease& lease, const LeaseFigures& figures, v1::ClientFrame& frame);
  void compose_requests(v1::ClientFrame& frame, Instant now);
  void compose_inventory(const std::vector<LeaseFigures>& figures, v1::ClientFrame& frame,
                         Instant now);
  void saw(Instant now);

  SessionIdentity identity_;
  std::vector<Lease> leases_;
  std::deque<Outgoing> outgoing_;
  // Sent on this stream and not answered: true once cancelled because of the Goodbye, which must
  // not cross a grant.
  std::map<std::uint64_t, bool> asked_;
  bool attached_ = false;  // Welcome and every LeaseSet were read
  bool welcomed_ = false;
  bool ever_attached_ = false;
  bool streaming_ = false;  // between begin_attach() and on_stream_lost()
  bool closing_ = false;
  bool goodbye_sent_ = false;
  Bytes floor_cap_ = kBytesMax;
  std::uint64_t session_id_ = 0;
  Epoch epoch_;       // of the present stream, 0 until Welcome
  Epoch last_epoch_;  // the highest ever seen
  Attach attach_;
  Millis heartbeat_ = 500;
  Millis ttl_ = 5'000;
  Instant heard_;      // last frame of the daemon
  Instant last_seen_;  // last call with a time
  Instant inventory_due_ = Instant::never();
  Instant change_due_ = Instant::never();  // a change is to be told by then
  SessionCounters counters_;
};

}  // namespace membroker::lease
