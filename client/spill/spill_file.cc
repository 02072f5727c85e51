#include "client/spill/spill_file.h"

#include "shared/format.h"

namespace membroker::spill {

std::string SpillFile::at(Bytes offset) const {
  return strf("spill file %llu in %s, offset %lld", static_cast<unsigned long long>(number),
              directory.c_str(), static_cast<long long>(offset));
}

}  // namespace membroker::spill
