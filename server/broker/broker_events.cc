#include <utility>

#include "server/broker/broker.h"

namespace membroker::broker {

/// Bounded: who drives a broker need not take what nobody watches. The gap in the numbers tells
/// watchers that some are missing.
void Broker::note(BrokerEvent event) {
  event.sequence = ++last_event_;
  if (events_.size() < kEventsKeptMax) events_.push_back(std::move(event));
}

void Broker::note(const char* name, const Session& session, std::string detail) {
  note(
      {.name = name, .tenant = session.tenant, .session = session.id, .detail = std::move(detail)});
}

void Broker::note(const char* name, const Session& session, std::size_t resource, Bytes bytes,
                  std::string detail) {
  note({.name = name,
        .tenant = session.tenant,
        .session = session.id,
        .resource = resources_[resource].config.name,
        .bytes = bytes,
        .detail = std::move(detail)});
}

void Broker::note(const char* name, const Orphan& orphan, std::string detail) {
  note({.name = name,
        .tenant = orphan.tenant,
        .session = orphan.id,
        .resource = resources_.front().config.name,
        .bytes = orphan.totals.held(),
        .detail = std::move(detail)});
}

std::vector<BrokerEvent> Broker::take_events() { return std::exchange(events_, {}); }

}  // namespace membroker::broker
