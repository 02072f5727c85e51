#include "server/broker/outbox.h"

#include <utility>

namespace membroker::broker {

void Outbox::clear() { *this = Outbox{}; }

void Outbox::take_answers(v1::ServerFrame* frame, int messages_max) {
  while (!answers.empty() && frame->messages_size() < messages_max) {
    *frame->add_messages() = std::move(answers.front());
    answers.pop_front();
  }
}

}  // namespace membroker::broker
