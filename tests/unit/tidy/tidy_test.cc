#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "tests/unit/tidy/lint.h"

namespace membroker::tidy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<File>& tree() {
  static const std::vector<File> files = read_tree(MEMBROKER_SOURCE_DIR);
  return files;
}

std::string text_findings(const std::string& path, const std::string& text) {
  return to_string(lint_text({path, text}));
}

std::string include_findings(const std::string& path, const std::string& include) {
  return to_string(lint_includes({path, "#include " + include + "\n"}));
}

std::string lines(std::size_t count, const std::string& line) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += line + "\n";
  return text;
}

// ---- the tree ----

TEST(Tree, IsRead) {
  EXPECT_GT(tree().size(), 30U);
  EXPECT_TRUE(std::any_of(tree().begin(), tree().end(),
                          [](const File& file) { return file.path == "shared/bytes.h"; }));
}

TEST(Tree, KeepsTheHouseRules) {
  Findings findings;
  for (const File& file : tree()) {
    for (Finding& finding : lint_text(file)) findings.push_back(std::move(finding));
  }
  EXPECT_TRUE(findings.empty()) << to_string(findings);
}

TEST(Tree, IncludesPointDownwardsOnly) {
  Findings findings;
  for (const File& file : tree()) {
    for (Finding& finding : lint_includes(file)) findings.push_back(std::move(finding));
  }
  EXPECT_TRUE(findings.empty()) << to_string(findings);
}

// The list is what is compiled alone and what a user may include: a header that is not on it is
// neither.
TEST(Tree, PublicHeadersAreListed) {
  std::set<std::string> listed;
  std::istringstream list(MEMBROKER_PUBLIC_HEADERS);
  for (std::string path; std::getline(list, path, ',');) listed.insert(path);
  std::set<std::string> found;
  for (const File& file : tree()) {
    const bool public_folder = file.path.starts_with("client/include/membroker/") ||
                               file.path.starts_with("shared/include/membroker/");
    if (public_folder && file.path.ends_with(".h")) found.insert(file.path);
  }
  EXPECT_EQ(listed, found) << "the list is tests/unit/tidy/public_headers.cmake";
}

TEST(Tree, RootHoldsOnlyWhatItShould) {
  const std::set<std::string> allowed = {"CMakeLists.txt", "CMakePresets.json", "README.md",
                                         "CHANGELOG.md", "LICENSE"};
  for (const File& file : tree()) {
    const bool in_root = file.path.find('/') == std::string::npos;
    const bool fine = !in_root || file.path[0] == '.' || allowed.contains(file.path);
    EXPECT_TRUE(fine) << file.path;
  }
}

// ---- the rules, each broken once ----

TEST(TextRules, GoodTextHasNoFindings) {
  EXPECT_EQ(text_findings("shared/x.h", "#pragma once\n\nint f();\n"), "");
}

TEST(TextRules, FileLength) {
  EXPECT_EQ(text_findings("shared/x.cc", lines(400, "int x;")), "");
  EXPECT_THAT(text_findings("shared/x.cc", lines(401, "int x;")), HasSubstr("401 lines"));
  EXPECT_EQ(text_findings("tests/x.cc", lines(700, "int x;")), "");
  EXPECT_THAT(text_findings("tests/x.cc", lines(701, "int x;")), HasSubstr("at most 700"));
}

TEST(TextRules, LineLengthInColumnsNotBytes) {
  EXPECT_EQ(text_findings("shared/x.cc", std::string(100, 'x') + "\n"), "");
  EXPECT_THAT(text_findings("shared/x.cc", std::string(101, 'x') + "\n"), HasSubstr("x.cc:1: 101"));
  std::string accents = "//";
  for (int i = 0; i < 98; ++i) accents += "\xc3\xa9";
  EXPECT_EQ(text_findings("shared/x.cc", accents + "\n"), "");
}

TEST(TextRules, BlanksTabsAndLineEnds) {
  EXPECT_THAT(text_findings("x.md", "a \n"), HasSubstr("blanks"));
  EXPECT_THAT(text_findings("x.md", "a\r\n"), HasSubstr("carriage return"));
  EXPECT_THAT(text_findings("x.md", "a"), HasSubstr("no line break"));
  EXPECT_THAT(text_findings("shared/x.cc", "\tint x;\n"), HasSubstr("tab"));
}

TEST(TextRules, BinariesAreNoText) {
  EXPECT_EQ(text_findings("docs/x.png", std::string("a \n\0\r", 5)), "");
}

TEST(TextRules, LeftOverNotes) {
  EXPECT_THAT(text_findings("x.md", std::string("later: TO") + "DO\n"), HasSubstr("left-over"));
  EXPECT_EQ(text_findings("x.md", std::string("xTO") + "DOx\n"), "");
}

TEST(TextRules, PathsOfOneMachine) {
  EXPECT_THAT(text_findings("x.md", std::string("see /wor") + "k/x\n"), HasSubstr("one machine"));
}

TEST(TextRules, HeadersAreGuarded) {
  EXPECT_THAT(text_findings("shared/x.h", "int f();\n"), HasSubstr("#pragma once"));
}

TEST(TextRules, FunctionLength) {
  const auto function = [](std::size_t size) {
    return "int f() {\n" + lines(size - 2, "  g();") + "}\n";
  };
  EXPECT_EQ(text_findings("shared/x.cc", function(70)), "");
  EXPECT_THAT(text_findings("shared/x.cc", function(71)), HasSubstr("x.cc:1: a function of 71"));
  EXPECT_EQ(text_findings("shared/x.cc", "namespace a {\n" + lines(80, "int x;") + "}\n"), "");
  const std::string method = "struct A {\n  int f() {\n" + lines(70, "    g();") + "  }\n};\n";
  EXPECT_THAT(text_findings("shared/x.cc", method), HasSubstr("x.cc:2: a function of 72"));
  EXPECT_EQ(text_findings("shared/x.cc", "const int a[] = {\n" + lines(80, "  1,") + "};\n"), "");
}

TEST(LayerRules, DownwardsIsFine) {
  EXPECT_EQ(include_findings("server/broker/x.cc", "\"server/arbiter/arbiter.h\""), "");
  EXPECT_EQ(include_findings("server/arbiter/x.cc", "<map>"), "");
  EXPECT_EQ(include_findings("server/arbiter/x.cc", "\"membroker/error.h\""), "");
  EXPECT_EQ(include_findings("client/transport/x.cc", "<grpcpp/grpcpp.h>"), "");
  EXPECT_EQ(include_findings("tests/unit/x.cc", "\"server/rpc/acceptor.h\""), "");
}

TEST(LayerRules, UpwardsAndSidewaysAreNot) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"shared/x.cc", "\"server/arbiter/arbiter.h\""},
      {"shared/x.cc", "\"membroker/client.h\""},
      {"server/arbiter/x.cc", "\"server/broker/ledger.h\""},
      {"server/broker/x.cc", "\"server/rpc/acceptor.h\""},
      {"server/rpc/x.cc", "\"server/app/config.h\""},
      {"server/broker/x.cc", "\"client/lease/lease_source.h\""},
      {"server/broker/x.cc", "\"membroker/client.h\""},
      {"client/lease/x.cc", "\"client/memory/pool.h\""},
      {"client/lease/x.cc", "\"client/transport/session.h\""},
      {"client/transport/x.cc", "\"server/rpc/acceptor.h\""},
      {"client/cli/x.cc", "\"client/transport/session.h\""},
      {"client/examples/hello/x.cc", "\"shared/bytes.h\""},
      {"client/include/membroker/x.h", "\"shared/bytes.h\""},
      {"client/include/membroker/x.h", "<shared/bytes.h>"},
  };
  for (const auto& [path, include] : bad) {
    EXPECT_THAT(include_findings(path, include), HasSubstr("no lower layer")) << path << include;
  }
}

TEST(LayerRules, LibrariesStayInTheirLayers) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"shared/x.cc", "<spdlog/spdlog.h>"},
      {"server/arbiter/x.cc", "<spdlog/spdlog.h>"},
      {"server/broker/x.cc", "<grpcpp/grpcpp.h>"},
      {"server/broker/x.cc", "\"membroker/v1/session.grpc.pb.h\""},
      {"server/arbiter/x.cc", "\"membroker/v1/session.pb.h\""},
      {"server/rpc/x.cc", "<CLI/CLI.hpp>"},
      {"client/memory/x.cc", "<grpcpp/grpcpp.h>"},
      {"client/lease/x.cc", "\"membroker/v1/session.grpc.pb.h\""},
      {"client/include/membroker/x.h", "<absl/status/status.h>"},
      {"client/include/membroker/x.h", "\"membroker/v1/session.pb.h\""},
      {"client/x.cc", "<grpcpp/grpcpp.h>"},
  };
  for (const auto& [path, include] : bad) {
    EXPECT_THAT(include_findings(path, include), HasSubstr("may not see")) << path << include;
  }
}

TEST(LayerRules, TheCoreIsPure) {
  for (const char* header : {"<thread>", "<mutex>", "<chrono>", "<random>", "<unordered_map>",
                             "<iostream>", "<fstream>", "<time.h>"}) {
    EXPECT_THAT(include_findings("server/arbiter/x.cc", header), HasSubstr("pure core")) << header;
  }
}

TEST(LayerRules, EveryFolderHasALayer) {
  EXPECT_THAT(include_findings("server/new/x.cc", "<map>"), HasSubstr("no layer"));
}

TEST(LayerRules, AllSpellingsOfAnIncludeAreRead) {
  const auto found = [](const std::string& line) {
    return lint_includes({"shared/x.cc", line + "\n"}).size();
  };
  EXPECT_EQ(found("#  include \"server/rpc/acceptor.h\""), 1U);
  EXPECT_EQ(found("#include\"server/rpc/acceptor.h\""), 1U);
  EXPECT_EQ(found("#include <server/rpc/acceptor.h>"), 1U);
  EXPECT_EQ(found("// #include \"server/rpc/acceptor.h\""), 0U);
}

TEST(Findings, AreLocated) {
  EXPECT_THAT(lint_text({"shared/x.cc", "int a;\nint b; \n"}),
              ElementsAre(Finding{"shared/x.cc", 2, "blanks at the line's end"}));
}

}  // namespace
}  // namespace membroker::tidy
