#pragma once

#include <string>
#include <vector>

#include "tests/sim/outcome.h"

/// \file
/// An outcome as text: an aligned table for people, JSON for programs.

namespace membroker::sim {

/// What was run: "policy", "fair".
struct Heading {
  std::string key;
  std::string text;
  bool is_number = false;
};

std::string table_text(const std::vector<Heading>& headings, const std::vector<Figure>& figures);
std::string json_text(const std::vector<Heading>& headings, const std::vector<Figure>& figures);

}  // namespace membroker::sim
