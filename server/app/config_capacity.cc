#include "server/app/config_compile.h"
#include "shared/format.h"

namespace membroker::app {
namespace {

constexpr Bytes kCapacityMax = Bytes{1} << 50;

long long number(Bytes bytes) { return bytes; }

class CapacityCompiler {
 public:
  CapacityCompiler(const ResourceIr& ir, const ConfigHost& host, ConfigErrors& errors)
      : ir_(ir), host_(host), errors_(errors), name_(ir.name.c_str()) {}

  std::optional<Bytes> run() const {
    const bool ram = ir_.name == "ram";
    if (!ir_.capacity) {
      errors_.add(ir_.at, strf("[resources.%s] has no capacity; write capacity = \"12GiB\"%s",
                               name_, ram ? " or capacity = \"80%\"" : ""));
      return std::nullopt;
    }
    const bool of_memory = ir_.capacity->value.percent > 0;
    if (!ram && (of_memory || ir_.reserve)) {
      errors_.add(of_memory ? ir_.capacity->at : ir_.reserve->at,
                  strf("%s is of the machine's memory, and \"%s\" is another resource; %s",
                       of_memory ? "a percentage" : "reserve", name_,
                       of_memory ? "write a size" : "leave it out"));
      return std::nullopt;
    }
    const auto out =
        of_memory || ir_.reserve ? share_of_memory() : std::optional(ir_.capacity->value.bytes);
    if (out && (*out < kMiB || *out > kCapacityMax)) {
      errors_.add(ir_.capacity->at, strf("the capacity of \"%s\" comes to %lld bytes; write 1MiB "
                                         "to 1024TiB",
                                         name_, number(*out)));
      return std::nullopt;
    }
    return out;
  }

 private:
  // A percentage is of what the reserve leaves; a size must fit beside the reserve.
  std::optional<Bytes> share_of_memory() const {
    const auto memory = host_.memory();
    if (!memory) {
      errors_.add(ir_.capacity->at,
                  "the machine's memory is not known: " + memory.error().message());
      return std::nullopt;
    }
    const Bytes usable = memory->usable();
    const Bytes reserve = ir_.reserve ? share_of(usable, ir_.reserve->value) : 0;
    if (reserve >= usable) {
      errors_.add(ir_.reserve->at, strf("a reserve of %lld bytes leaves nothing of the %lld there "
                                        "are",
                                        number(reserve), number(usable)));
      return std::nullopt;
    }
    const Bytes capacity = share_of(usable - reserve, ir_.capacity->value);
    if (capacity <= usable - reserve) return capacity;
    errors_.add(ir_.capacity->at,
                strf("a capacity of %lld bytes does not fit beside the reserve: there are %lld, of "
                     "which %lld are reserved",
                     number(capacity), number(usable), number(reserve)));
    return std::nullopt;
  }

  const ResourceIr& ir_;
  const ConfigHost& host_;
  ConfigErrors& errors_;
  const char* const name_;
};

}  // namespace

std::optional<Bytes> compile_capacity(const ResourceIr& ir, const ConfigHost& host,
                                      ConfigErrors& errors) {
  return CapacityCompiler(ir, host, errors).run();
}

}  // namespace membroker::app
