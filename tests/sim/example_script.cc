#include "tests/sim/example_script.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <istream>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "server/arbiter/arbiter.h"
#include "tests/sim/effect_text.h"

namespace membroker::sim {

namespace {

using namespace membroker::arbiter;  // NOLINT: every word of the script is one of its events

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string> split(const std::string& text, const std::string& at) {
  std::vector<std::string> parts;
  std::size_t from = 0;
  for (;;) {
    const std::size_t end = text.find(at, from);
    parts.push_back(trimmed(text.substr(from, end - from)));
    if (end == std::string::npos) return parts;
    from = end + at.size();
  }
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::optional<std::int64_t> number(const std::string& text) {
  if (text.empty()) return std::nullopt;
  char* end = nullptr;
  const std::int64_t value = std::strtoll(text.c_str(), &end, 10);
  if (*end != '\0') return std::nullopt;
  return value;
}

/// The words of one step, taken from the front; remembers whether any was not as it should be.
class Words {
 public:
  explicit Words(const std::string& text) : words_(words_of(text)) {}

  bool empty() const { return next_ >= words_.size(); }
  bool good() const { return good_; }
  std::string take() {
    if (empty()) good_ = false;
    return empty() ? std::string() : words_[next_++];
  }
  std::string peek() const { return empty() ? std::string() : words_[next_]; }
  std::int64_t take_number() { return checked(number(take())); }
  Bytes take_mib() { return take_number() * kMiB; }
  /// "s100" for prefix "s": the number, if the next word is one.
  std::optional<std::int64_t> take_prefixed(const std::string& prefix) {
    const std::string word = peek();
    if (word.rfind(prefix, 0) != 0) return std::nullopt;
    const auto value = number(word.substr(prefix.size()));
    if (value) ++next_;
    return value;
  }
  bool take_word(const std::string& wanted) {
    if (peek() != wanted) return false;
    ++next_;
    return true;
  }
  std::int64_t checked(std::optional<std::int64_t> value) {
    good_ = good_ && value.has_value();
    return value.value_or(0);
  }

 private:
  std::vector<std::string> words_;
  std::size_t next_ = 0;
  bool good_ = true;
};

bool looks_like_session(const std::string& word) {
  return word.size() == 2 && word[0] >= 'a' && word[0] <= 'c' && std::isdigit(word[1]) != 0;
}

/// One example under way.
class Example {
 public:
  explicit Example(const std::string& line) : arbiter_(1024 * kMiB) {
    for (const char* tenant : {"a", "b", "c"}) apply(SetTenant{tenant, {}});
    open_mentioned(line);
  }

  /// False if the text is none of the script's.
  bool given(const std::string& text);
  std::optional<std::string> step(const std::string& text);

 private:
  void open_mentioned(const std::string& line);
  void open(const std::string& name, const std::string& tenant, std::int32_t priority);
  SessionId id_of(const std::string& name) {
    const auto known = ids_.find(name);
    return known == ids_.end() ? SessionId{UINT64_MAX} : known->second;
  }
  void apply(const Event& event) { arbiter_.apply(now_, event, effects_); }

  void take_tenant(Words& words);
  void take_holding(const std::string& session, Bytes bytes, Words& words);
  void take_acquire(Words& words);
  void take_answer(Words& words);
  bool take_event(const std::string& verb, Words& words);
  bool take_session_event(const std::string& verb, Words& words);

  Arbiter arbiter_;
  Instant now_;
  Effects effects_;
  SessionNames names_;
  std::map<std::string, SessionId> ids_;
  std::map<std::uint64_t, std::string> asked_by_;  // request -> session
  std::map<std::string, TenantPolicy> policies_;
  std::uint64_t next_request_ = 1'000;  // of what is given
};

// Sessions named in the line exist from the start, unless it says where they come from.
void Example::open_mentioned(const std::string& line) {
  std::string spaced = line;
  std::replace(spaced.begin(), spaced.end(), '=', ' ');
  std::replace(spaced.begin(), spaced.end(), ';', ' ');
  const std::vector<std::string> words = words_of(spaced);
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!looks_like_session(words[i]) || ids_.count(words[i]) > 0) continue;
    const bool declared = i > 0 && (words[i - 1] == "open" || words[i - 1] == "recovered");
    if (declared) {
      ids_[words[i]] = SessionId{ids_.size() + 1};
      names_[ids_[words[i]]] = words[i];
    } else {
      open(words[i], words[i].substr(0, 1), 0);
    }
  }
}

void Example::open(const std::string& name, const std::string& tenant, std::int32_t priority) {
  if (ids_.count(name) == 0) ids_[name] = SessionId{ids_.size() + 1};
  names_[ids_[name]] = name;
  apply(Open{ids_[name], name, tenant, priority, 0, false});
}

void Example::take_tenant(Words& words) {
  const std::string path = words.take();
  TenantPolicy& policy = policies_[path];
  while (!words.empty() && words.good()) {
    if (const auto g = words.take_prefixed("g")) {
      policy.guarantee = *g * kMiB;
    } else if (const auto limit = words.take_prefixed("L")) {
      policy.limit = *limit * kMiB;
    } else if (const auto w = words.take_prefixed("w")) {
      policy.weight = static_cast<std::int32_t>(*w);
    } else if (const auto p = words.take_prefixed("p")) {
      policy.priority = static_cast<std::int32_t>(*p);
    } else if (words.take_word("res") || words.take_word("reserved")) {
      policy.mode = GuaranteeMode::kReserved;
    } else {
      words.checked(std::nullopt);
    }
  }
  apply(SetTenant{path, policy});
}

void Example::take_holding(const std::string& session, Bytes bytes, Words& words) {
  const Bytes slack = words.take_prefixed("s").value_or(0) * kMiB;
  const Bytes reclaimable = words.take_prefixed("r").value_or(0) * kMiB;
  const SessionId id = id_of(session);
  apply(Acquire{id, RequestId{++next_request_}, bytes, bytes, 0, 0});
  apply(Report{id, slack, reclaimable});
}

bool Example::given(const std::string& text) {
  for (const std::string& item : split(text, ";")) {
    if (item == "-" || item.empty()) continue;
    Words words(item);
    const auto equals = item.find('=');
    if (words.take_word("tenant")) {
      take_tenant(words);
    } else if (words.take_word("open")) {
      const std::string name = words.take();
      const std::string tenant = words.take();
      open(name, tenant, static_cast<std::int32_t>(words.take_prefixed("p").value_or(0)));
    } else if (equals != std::string::npos) {
      const std::string word = words.take();
      const auto bytes = number(word.substr(equals + 1));
      take_holding(word.substr(0, equals), words.checked(bytes) * kMiB, words);
    } else {
      return false;
    }
    if (!words.good() || !words.empty()) return false;
  }
  effects_.clear();
  return true;
}

void Example::take_acquire(Words& words) {
  const std::uint64_t id = static_cast<std::uint64_t>(words.take_number());
  const std::string session = words.take();
  const std::vector<std::string> sizes = split(words.take(), "/");
  if (sizes.size() != 3) {
    words.checked(std::nullopt);
    return;
  }
  Acquire acquire;
  acquire.session = id_of(session);
  acquire.request = RequestId{id};
  acquire.want = words.checked(number(sizes[0])) * kMiB;
  acquire.min = words.checked(number(sizes[1])) * kMiB;
  acquire.wait = words.checked(number(sizes[2]));
  acquire.priority = static_cast<std::int32_t>(words.take_prefixed("p").value_or(0));
  asked_by_[id] = session;
  apply(acquire);
}

void Example::take_answer(Words& words) {
  const SessionId session = id_of(words.take());
  const Bytes bytes = words.take_mib();
  const std::string state = words.take();
  Progress progress;
  progress.session = session;
  progress.state = state == "done"     ? ProgressState::kDone
                   : state == "cannot" ? ProgressState::kCannot
                                       : ProgressState::kWorking;
  if (state != "done" && state != "cannot" && state != "working") words.checked(std::nullopt);
  progress.current = !words.take_word("old");
  if (bytes > 0) apply(Release{session, bytes});
  const auto lease = arbiter_.lease(session);
  if (!lease) return;
  progress.slack = lease->slack;
  progress.reclaimable = lease->reclaimable;
  apply(progress);
}

bool Example::take_session_event(const std::string& verb, Words& words) {
  const SessionId session = id_of(words.take());
  if (verb == "rep") {
    const Bytes slack = words.take_prefixed("s").value_or(0) * kMiB;
    apply(Report{session, slack, words.take_prefixed("r").value_or(0) * kMiB});
  } else if (verb == "rel") {
    apply(Release{session, words.take_mib()});
  } else if (verb == "over") {
    apply(Over{session, words.take_mib()});
  } else if (verb == "ask") {
    apply(Ask{session, words.take_mib()});
  } else if (verb == "suspect") {
    apply(Suspect{session});
  } else if (verb == "fence") {
    apply(Fence{session});
  } else if (verb == "gone") {
    apply(Gone{session});
  } else if (verb == "resume") {
    const Bytes held = words.take_mib();
    const Bytes slack = words.take_prefixed("s").value_or(0) * kMiB;
    apply(Resumed{session, held, slack, words.take_prefixed("r").value_or(0) * kMiB});
  } else if (verb == "recovered") {
    const std::string tenant = words.take();
    apply(Recovered{session, names_[session], tenant, 0, words.take_mib(), 0});
  } else {
    return false;
  }
  return true;
}

bool Example::take_event(const std::string& verb, Words& words) {
  if (verb == "acq") {
    take_acquire(words);
  } else if (verb == "ans") {
    take_answer(words);
  } else if (verb == "cancel") {
    const auto id = static_cast<std::uint64_t>(words.take_number());
    apply(Cancel{id_of(asked_by_[id]), RequestId{id}});
  } else if (verb == "tenant") {
    take_tenant(words);
  } else if (verb == "rm") {
    apply(RemoveTenant{words.take()});
  } else if (verb == "capacity") {
    apply(SetCapacity{words.take_mib()});
  } else if (verb == "drain") {
    apply(Drain{});
  } else if (verb == "tick") {
    arbiter_.expire(now_, effects_);
  } else {
    return take_session_event(verb, words);
  }
  return true;
}

std::optional<std::string> Example::step(const std::string& text) {
  Words words(text);
  effects_.clear();
  if (const auto at = words.take_prefixed("@")) now_ = std::max(now_, Instant{*at});
  const std::string verb = words.take();
  if (!take_event(verb, words) || !words.good() || !words.empty()) return std::nullopt;
  const std::string broken = arbiter_.check_invariants();
  if (!broken.empty()) return "broken invariant: " + broken;
  return effects_text(effects_, names_);
}

}  // namespace

ExampleResult run_examples(std::istream& text) {
  ExampleResult result;
  for (std::string line; std::getline(text, line);) {
    if (line.empty() || std::isdigit(static_cast<unsigned char>(line[0])) == 0) continue;
    ++result.examples;
    const std::size_t colon = line.find(": ");
    const std::string name = line.substr(0, colon);
    if (colon == std::string::npos) {
      result.differences.push_back({name, "", "name: given | event -> effects", "no colon"});
      continue;
    }
    const std::vector<std::string> steps = split(line.substr(colon + 2), " | ");
    Example example(line);
    if (!example.given(steps[0])) {
      result.differences.push_back({name, steps[0], "what is given", "cannot be read"});
      continue;
    }
    for (std::size_t i = 1; i < steps.size(); ++i) {
      const std::vector<std::string> sides = split(steps[i], "->");
      const std::string expected = sides.size() > 1 ? sides[1] : "";
      const std::string came = example.step(sides[0]).value_or("cannot be read");
      if (came != expected) result.differences.push_back({name, sides[0], expected, came});
    }
  }
  return result;
}

}  // namespace membroker::sim
