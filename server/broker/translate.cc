#include "server/broker/translate.h"

#include <xxhash.h>

#include <algorithm>

#include "server/broker/session.h"
#include "shared/check.h"
#include "shared/format.h"

namespace membroker::broker {
namespace {

constexpr std::size_t kTokenBytes = 16;

Status check_text(const char* field, std::string_view text, std::uint32_t bytes_max) {
  if (text.size() <= bytes_max) return {};
  return fail(ErrorCode::kInvalid, strf("Hello.%s has %zu bytes; at most %u are allowed", field,
                                        text.size(), bytes_max));
}

Status check_labels(const v1::Hello& hello, const BrokerLimits& limits) {
  if (hello.labels().size() > limits.labels_max) {
    return fail(ErrorCode::kInvalid,
                strf("Hello.labels has %zu pairs; at most %u are allowed",
                     static_cast<std::size_t>(hello.labels().size()), limits.labels_max));
  }
  for (const auto& [key, value] : hello.labels()) {
    if (auto ok = check_text("labels", key, limits.text_bytes_max); !ok) return ok;
    if (auto ok = check_text("labels", value, limits.text_bytes_max); !ok) return ok;
  }
  return {};
}

Status check_figure(const std::string& resource, const char* field, Bytes value, Bytes max) {
  if (value >= 0 && value <= max) return {};
  return fail(ErrorCode::kInvalid,
              strf("Hello: lease \"%s\": %s is %lld; 0 to %lld are allowed", resource.c_str(),
                   field, static_cast<long long>(value), static_cast<long long>(max)));
}

Result<LeaseClaim> check_claim(const v1::LeaseClaim& wire, const BrokerConfig& config) {
  const std::string& name = wire.resource();
  const auto found =
      std::find_if(config.resources.begin(), config.resources.end(),
                   [&](const ResourceConfig& resource) { return resource.name == name; });
  if (found == config.resources.end()) {
    return fail(ErrorCode::kNotFound, "there is no resource " + log_text(name) +
                                          "; membrokerctl status lists those there are");
  }
  const struct {
    const char* field;
    Bytes value;
    Bytes max;
  } figures[] = {{"floor_bytes", wire.floor_bytes(), kLeaseHeldMax},
                 {"granted_total", wire.granted_total(), kTotalMax},
                 {"overdrawn_total", wire.overdrawn_total(), kTotalMax},
                 {"returned_total", wire.returned_total(), kTotalMax},
                 {"slack_bytes", wire.slack_bytes(), kBytesMax},
                 {"reclaimable_bytes", wire.reclaimable_bytes(), kBytesMax}};
  for (const auto& figure : figures) {
    if (auto ok = check_figure(name, figure.field, figure.value, figure.max); !ok) {
      return fail(ok.error());
    }
  }
  LeaseClaim claim;
  claim.resource = static_cast<std::size_t>(found - config.resources.begin());
  claim.floor = wire.floor_bytes();
  claim.totals = {wire.granted_total(), wire.overdrawn_total(), wire.returned_total()};
  claim.slack = wire.slack_bytes();
  claim.reclaimable = wire.reclaimable_bytes();
  if (auto ok = check_figure(name, "granted_total + overdrawn_total - returned_total",
                             claim.totals.held(), kLeaseHeldMax);
      !ok) {
    return fail(ok.error());
  }
  return claim;
}

}  // namespace

bool HelloRequest::claims_bytes() const {
  return std::any_of(leases.begin(), leases.end(),
                     [](const LeaseClaim& claim) { return claim.totals != LedgerTotals{}; });
}

Result<HelloRequest> check_hello(const v1::ClientFrame& frame, const BrokerConfig& config) {
  if (frame.messages_size() != 1 || !frame.messages(0).has_hello()) {
    return fail(ErrorCode::kInvalid, "the first frame must hold Hello and nothing else");
  }
  const v1::Hello& hello = frame.messages(0).hello();
  if (hello.protocol_version() == 0) {
    return fail(ErrorCode::kInvalid, "Hello.protocol_version is missing; this daemon speaks 1");
  }
  if (frame.attach() == 0) {
    return fail(ErrorCode::kInvalid, "attach of the first frame is 0; it counts from 1");
  }
  if (hello.token().size() != kTokenBytes) {
    return fail(ErrorCode::kInvalid, strf("Hello.token has %zu bytes; it must have %zu",
                                          hello.token().size(), kTokenBytes));
  }
  if (auto ok = check_text("client_name", hello.client_name(), config.limits.text_bytes_max); !ok) {
    return fail(ok.error());
  }
  if (auto ok = check_labels(hello, config.limits); !ok) return fail(ok.error());
  if (hello.leases().empty()) {
    return fail(ErrorCode::kInvalid, "Hello.leases is empty; a session has at least one lease");
  }

  HelloRequest request;
  request.attach = Attach{frame.attach()};
  request.tenant = hello.tenant();
  request.client_name = hello.client_name();
  request.labels.insert(hello.labels().begin(), hello.labels().end());
  request.token_hash = hash_token(hello.token());
  request.priority = hello.priority();
  for (const v1::LeaseClaim& wire : hello.leases()) {
    auto claim = check_claim(wire, config);
    if (!claim) return fail(claim.error());
    const bool twice =
        std::any_of(request.leases.begin(), request.leases.end(),
                    [&](const LeaseClaim& other) { return other.resource == claim->resource; });
    if (twice) {
      return fail(ErrorCode::kInvalid,
                  "Hello.leases names resource " + log_text(wire.resource()) + " twice");
    }
    request.leases.push_back(*claim);
  }
  std::sort(request.leases.begin(), request.leases.end(),
            [](const LeaseClaim& a, const LeaseClaim& b) { return a.resource < b.resource; });
  return request;
}

std::array<std::uint8_t, 16> hash_token(std::string_view token) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(token.data(), token.size()));
  std::array<std::uint8_t, 16> hash{};
  std::copy(std::begin(canonical.digest), std::end(canonical.digest), hash.begin());
  return hash;
}

std::string log_text(std::string_view text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
  });
  if (plain) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) {
      quoted += strf("\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace membroker::broker
