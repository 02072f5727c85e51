#include "server/app/log.h"

#include <grpc/support/log.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <optional>

#include "shared/format.h"

namespace membroker::app {
namespace {

std::string time_text(spdlog::log_clock::time_point at) {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch());
  const std::time_t seconds = since.count() / 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return strf("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
              parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
              static_cast<int>(since.count() % 1000));
}

const char* level_text(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace: return "trace";
    case spdlog::level::debug: return "debug";
    case spdlog::level::info: return "info";
    case spdlog::level::warn: return "warn";
    default: return "error";
  }
}

class LineFormatter final : public spdlog::formatter {
 public:
  explicit LineFormatter(LogFormat format) : format_(format) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string payload = one_line({message.payload.data(), message.payload.size()});
    const std::string time = time_text(message.time);
    const char* const level = level_text(message.level);
    std::string line = format_ == LogFormat::kJson
                           ? "{\"time\":\"" + time + "\",\"level\":\"" + level + "\"," +
                                 json_members(payload) + "}\n"
                           : "time=" + time + " level=" + level + " event=" + payload + "\n";
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(format_);
  }

 private:
  LogFormat format_;
};

void log_grpc(gpr_log_func_args* args) {
  const auto level = args->severity == GPR_LOG_SEVERITY_ERROR  ? spdlog::level::warn
                     : args->severity == GPR_LOG_SEVERITY_INFO ? spdlog::level::info
                                                               : spdlog::level::debug;
  std::string text = one_line(args->message);
  std::replace(text.begin(), text.end(), '"', '\'');
  std::replace(text.begin(), text.end(), '\\', '/');
  spdlog::log(level, "grpc file={}:{} text=\"{}\"", args->file, args->line, text);
}

bool is_integer(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  constexpr std::size_t kExactDigits = 18;
  return !text.empty() && text.size() <= kExactDigits && (text == "0" || text[0] != '0') &&
         text.find_first_not_of("0123456789") == std::string_view::npos;
}

// JSON is UTF-8 and peers are not to be trusted with it: what is not ASCII becomes "?".
std::string json_text(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < 0x80 ? c : '?';
  }
  return result + '"';
}

// Takes `"some \"text\""` off the front; nothing if the quote is not closed.
std::optional<std::string> take_quoted(std::string_view& rest) {
  std::string value;
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return value;
    }
    if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
    value += rest[i];
  }
  return std::nullopt;
}

}  // namespace

std::string one_line(std::string_view text) {
  std::string result(text);
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c < ' ' || c == 0x7f; }, '?');
  return result;
}

std::string json_members(std::string_view payload) {
  const auto event_end = std::min(payload.find(' '), payload.size());
  std::string result = "\"event\":" + json_text(payload.substr(0, event_end));
  std::string_view rest = payload.substr(event_end);
  while (!rest.empty()) {
    if (rest[0] == ' ') {
      rest.remove_prefix(1);
      continue;
    }
    const auto equals = rest.find_first_of("= \"");
    if (equals == std::string_view::npos || equals == 0 || rest[equals] != '=') break;
    const std::string key = json_text(rest.substr(0, equals));
    std::string_view after = rest.substr(equals + 1);
    std::string value;
    if (after.starts_with('"')) {
      const auto quoted = take_quoted(after);
      if (!quoted) break;
      value = json_text(*quoted);
    } else {
      const std::string_view word = after.substr(0, after.find(' '));
      value = is_integer(word) ? std::string(word) : json_text(word);
      after.remove_prefix(word.size());
    }
    result += "," + key + ":" + value;
    rest = after;
  }
  if (!rest.empty()) result += ",\"text\":" + json_text(rest);
  return result;
}

void set_up_log(const std::string& level, LogFormat format) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("membrokerd", std::move(sink));
  logger->set_formatter(std::make_unique<LineFormatter>(format));
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(log_grpc);
}

}  // namespace membroker::app
