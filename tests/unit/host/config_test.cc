#include "server/app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config_kit.h"
#include "tests/kit/temporary_folder.h"

namespace membroker::app {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kRam = "[resources.ram]\ncapacity = \"1GiB\"\n";  // lines 1 and 2

std::string tenant_error(const std::string& keys) {
  return error(kRam + "[[tenant]]\npath = \"a\"\n" + keys + "\n");  // keys: line 5
}

TEST(Config, NeedsNoMoreThanACapacity) {
  const AppConfig config = good(kRam);
  ASSERT_EQ(config.broker.resources.size(), 1u);
  EXPECT_EQ(config.broker.resources[0].name, "ram");
  EXPECT_EQ(config.broker.resources[0].capacity, 1 * kGiB);
  EXPECT_EQ(config.broker.resources[0].floor_max, 16 * kMiB);
  EXPECT_TRUE(config.broker.tenants.empty());
  EXPECT_EQ(config.broker_socket(), "/run/membroker/broker.sock");
  EXPECT_EQ(config.broker.times.heartbeat_interval, 500);
  EXPECT_THAT(config.admin_uids, ElementsAre(0));
}

const char* const kEveryKey = R"(
runtime_directory = "/tmp/run/"
state_directory = "/tmp/state"
log = { level = "debug", format = "json" }
[socket]
mode = "0600"
allow_unwatched = true
[admin]
mode = "0660"
uids = ["alice", 7, 7]
gids = ["data"]
[times]
heartbeat_interval = "250ms"
session_ttl = "3s"
suspect_grace = "2min"
recover_window = "0s"
shutdown_grace = "1s"
[limits]
sessions_max = 100
sessions_per_uid_max = 10
[resources.gpu]
capacity = "4GiB"
floor_max = "1MiB"
policy = "greedy"
[resources.ram]
capacity = "8GiB"
[[tenant]]
path = "acme/etl"
uids = [1001, "alice"]
gids = ["data"]
guarantee = "1GiB"
guarantee_mode = "reserved"
limit = 2147483648
weight = 3
priority = 1
priority_max = 2
on_overdue = "fence"
[tenant.resources.gpu]
guarantee = "1GiB"
[[tenant]]
path = "acme"
)";

TEST(Config, ReadsEveryKey) {
  const AppConfig config = good(kEveryKey);
  EXPECT_EQ(config.runtime_directory, "/tmp/run");
  EXPECT_EQ(config.ledger_file(), "/tmp/run/ledger");
  EXPECT_EQ(config.state_directory, "/tmp/state");
  EXPECT_EQ(config.log_level, "debug");
  EXPECT_EQ(config.log_format, LogFormat::kJson);
  EXPECT_EQ(config.socket_mode, 0600u);
  EXPECT_EQ(config.admin_socket_mode, 0660u);
  EXPECT_TRUE(config.allow_unwatched);
  EXPECT_THAT(config.admin_uids, ElementsAre(7, 1000));
  EXPECT_THAT(config.admin_gids, ElementsAre(500));
  EXPECT_EQ(config.broker.times.session_ttl, 3'000);
  EXPECT_EQ(config.broker.times.suspect_grace, 120'000);
  EXPECT_EQ(config.broker.times.recover_window, 0);
  EXPECT_EQ(config.broker.limits.sessions_max, 100u);
  EXPECT_EQ(config.broker.limits.sessions_per_uid_max, 10u);
  ASSERT_EQ(config.broker.resources.size(), 2u);
  EXPECT_EQ(config.broker.resources[0].name, "ram");
  EXPECT_EQ(config.broker.resources[1].floor_max, kMiB);
  EXPECT_EQ(config.broker.resources[0].policy, arbiter::PolicyKind::kFair);
  EXPECT_EQ(config.broker.resources[1].policy, arbiter::PolicyKind::kGreedy);
  ASSERT_EQ(config.broker.tenants.size(), 2u);
  EXPECT_EQ(config.broker.tenants[0].path, "acme");
  const broker::TenantConfig& etl = config.broker.tenants[1];
  EXPECT_EQ(etl.path, "acme/etl");
  EXPECT_THAT(etl.uids, ElementsAre(1000, 1001));
  EXPECT_THAT(etl.gids, ElementsAre(500));
  EXPECT_EQ(etl.policies.at("ram"),
            (arbiter::TenantPolicy{.guarantee = kGiB,
                                   .mode = arbiter::GuaranteeMode::kReserved,
                                   .limit = 2 * kGiB,
                                   .weight = 3,
                                   .priority = 1,
                                   .priority_max = 2,
                                   .on_overdue = arbiter::OnOverdue::kFence}));
  EXPECT_EQ(etl.policies.at("gpu").guarantee, kGiB);
  EXPECT_EQ(etl.policies.at("gpu").limit, kBytesMax);
  EXPECT_EQ(etl.policies.at("gpu").weight, 3);
}

TEST(Config, TakesAPercentageOfWhatIsLess) {
  const AppConfig config = good("[resources.ram]\ncapacity = \"80%\"\n");
  EXPECT_EQ(config.broker.resources[0].capacity, 8 * kGiB);
}

TEST(Config, PrintsWhatParsesToTheSame) {
  const std::string printed = print_config(good(R"(
runtime_directory = "/tmp/a \"quoted\\ name"
[resources.ram]
capacity = "12.5%"
[resources."a.b"]
capacity = "1GiB"
[[tenant]]
path = "acme/etl"
uids = ["alice"]
guarantee = "1MiB"
[tenant.resources."a.b"]
limit = "3MiB"
[[tenant]]
path = "zoo"
limit = "1GiB"
)"));
  EXPECT_EQ(print_config(good(printed)), printed);
  EXPECT_THAT(printed, HasSubstr("capacity = 1342177280\n"));
}

TEST(Config, SaysWhereAnUnknownKeyIs) {
  EXPECT_EQ(tenant_error("  wieght = 2"),
            "m.toml:5:3: unknown key \"wieght\" in [[tenant]]; did you mean \"weight\"?");
  EXPECT_THAT(error("colour = 1\n" + kRam), StartsWith("m.toml:1:1: unknown key \"colour\""));
  EXPECT_THAT(
      error(kRam + "size = 3\n"),
      AllOf(StartsWith("m.toml:3:1: "), HasSubstr("known are \"capacity\", \"floor_max\"")));
  EXPECT_THAT(error(kRam + "[log]\nlevle = \"info\"\n"), StartsWith("m.toml:4:1: "));
  EXPECT_THAT(error(kRam + "[tenants]\n"), HasSubstr("did you mean \"tenant\"?"));
}

TEST(Config, SaysWhereItIsNoToml) {
  EXPECT_THAT(error("[resources.ram\n"), AllOf(StartsWith("m.toml:1:"), HasSubstr("not TOML")));
  EXPECT_THAT(error("a = 1\na = 2\n"), AllOf(StartsWith("m.toml:2:"), HasSubstr("not TOML")));
  EXPECT_THAT(error("\xff\xfe"), StartsWith("m.toml:1:"));
}

TEST(Config, SaysWhatATypeMustBe) {
  EXPECT_EQ(tenant_error("weight = \"2\""),
            "m.toml:5:10: weight in [[tenant]] must be a whole number, without quotes");
  EXPECT_THAT(tenant_error("uids = 3"),
              StartsWith("m.toml:5:8: uids in [[tenant]] must be a list"));
  EXPECT_THAT(tenant_error("uids = [true]"), StartsWith("m.toml:5:9: "));
  EXPECT_THAT(error(kRam + "[socket]\nallow_unwatched = 1\n"),
              StartsWith("m.toml:4:19: allow_unwatched in [socket] must be true or false"));
  EXPECT_THAT(error("runtime_directory = 3\n" + kRam), StartsWith("m.toml:1:21: "));
  EXPECT_THAT(error("log = 3\n" + kRam), StartsWith("m.toml:1:7: log in the file must be a table"));
  EXPECT_THAT(error(kRam + "[tenant]\n"), HasSubstr("write [[tenant]]"));
  EXPECT_THAT(error("tenant = [1]\n" + kRam), StartsWith("m.toml:1:11: "));
  EXPECT_THAT(error("resources = { ram = 3 }"), HasSubstr("write [resources.ram]"));
  EXPECT_THAT(tenant_error("resources = { ram = 3 }"), HasSubstr("[tenant.resources.ram]"));
}

TEST(Config, SaysWhatASizeMustBe) {
  EXPECT_THAT(tenant_error("limit = \"lots\""),
              AllOf(StartsWith("m.toml:5:9: limit in [[tenant]]: "), HasSubstr("not a size")));
  EXPECT_THAT(tenant_error("limit = -1"), StartsWith("m.toml:5:9: "));
  EXPECT_THAT(tenant_error("limit = 1.5"), HasSubstr("must be a size"));
  EXPECT_THAT(tenant_error("guarantee = \"10%\""), StartsWith("m.toml:5:13: "));
  for (const char* percent : {"0%", "-5%", "101%", "x%", "%", "5%%", "nan%"}) {
    EXPECT_THAT(error("[resources.ram]\ncapacity = \"" + std::string(percent) + "\"\n"),
                AllOf(StartsWith("m.toml:2:12: "), HasSubstr("at most 100%")))
        << percent;
  }
}

TEST(Config, SaysWhatATimeMustBe) {
  for (const char* time :
       {"\"fast\"", "5", "\"5\"", "\"5 s\"", "\"-5s\"", "\"99999999999999999h\""}) {
    EXPECT_THAT(error(kRam + "[times]\nsession_ttl = " + time + "\n"),
                StartsWith("m.toml:4:15: session_ttl in [times] must be a time"))
        << time;
  }
  EXPECT_THAT(error(kRam + "[times]\nheartbeat_interval = \"1ms\"\n"),
              AllOf(StartsWith("m.toml:4:22: "), HasSubstr("\"50ms\" to \"60000ms\"")));
  EXPECT_THAT(error(kRam + "[times]\nsession_ttl = \"900ms\"\n"),
              AllOf(StartsWith("m.toml:4:15: "), HasSubstr("twice heartbeat_interval")));
}

TEST(Config, KeepsNumbersInTheirRanges) {
  EXPECT_EQ(tenant_error("weight = 0"),
            "m.toml:5:10: weight = 0 is out of range; write 1 to 10000");
  EXPECT_THAT(tenant_error("weight = 10001"), StartsWith("m.toml:5:10: "));
  EXPECT_THAT(tenant_error("priority = 3\npriority_max = 2"),
              AllOf(StartsWith("m.toml:5:12: "), HasSubstr("above priority_max 2")));
  EXPECT_EQ(good(kRam + "[[tenant]]\npath = \"a\"\npriority = 3\n")
                .broker.tenants[0]
                .policies.at("ram")
                .priority_max,
            3);
  EXPECT_THAT(tenant_error("priority = 5000"), StartsWith("m.toml:5:12: "));
  EXPECT_THAT(tenant_error("priority_max = -5000"), StartsWith("m.toml:5:16: "));
  EXPECT_THAT(error(kRam + "[limits]\nsessions_max = 0\n"), StartsWith("m.toml:4:16: "));
  EXPECT_THAT(error(kRam + "[limits]\nsessions_max = 5\nsessions_per_uid_max = 6\n"),
              StartsWith("m.toml:5:24: "));
}

TEST(Config, OffersTheChoices) {
  EXPECT_EQ(tenant_error("on_overdue = \"kill\""),
            "m.toml:5:14: on_overdue in [[tenant]] must be one of \"warn\", \"fence\"");
  EXPECT_THAT(tenant_error("guarantee_mode = 1"), HasSubstr("\"lent\", \"reserved\""));
  EXPECT_THAT(error(kRam + "[log]\nlevel = \"loud\"\n"), StartsWith("m.toml:4:9: "));
}

TEST(Config, NeedsRam) {
  EXPECT_THAT(error(""), AllOf(StartsWith("m.toml:1:1: "), HasSubstr("write [resources.ram]")));
  EXPECT_THAT(error("[resources.gpu]\ncapacity = \"1GiB\"\n"), HasSubstr("[resources.ram]"));
  EXPECT_THAT(error("[resources.ram]\n"),
              AllOf(StartsWith("m.toml:1:12: "), HasSubstr("has no capacity")));
}

TEST(Config, NamesThePoliciesThereAre) {
  EXPECT_EQ(error(kRam + "policy = \"gready\"\n"),
            "m.toml:3:10: policy in [resources.ram] must be one of \"fair\", \"greedy\"");
  EXPECT_THAT(error(kRam + "policy = 1\n"), HasSubstr("one of \"fair\", \"greedy\""));
  EXPECT_THAT(print_config(good(kRam + "policy = \"greedy\"\n")),
              HasSubstr("policy = \"greedy\"\n"));
  EXPECT_THAT(print_config(good(kRam)), HasSubstr("policy = \"fair\"\n"));
}

TEST(Config, ChecksCapacities) {
  EXPECT_THAT(error("[resources.ram]\ncapacity = 1000\n"),
              AllOf(StartsWith("m.toml:2:12: "), HasSubstr("1MiB to 1024TiB")));
  EXPECT_THAT(error("[resources.ram]\ncapacity = \"5000TiB\"\n"), StartsWith("m.toml:2:12: "));
  EXPECT_THAT(error(kRam + "floor_max = \"2GiB\"\n"), StartsWith("m.toml:3:13: floor_max"));
  EXPECT_THAT(error(kRam + "[resources.gpu]\ncapacity = \"50%\"\n"),
              AllOf(StartsWith("m.toml:4:12: "), HasSubstr("write a size")));
  EXPECT_THAT(error(kRam + "[resources.\"a b\"]\ncapacity = 1\n"), StartsWith("m.toml:3:12: "));
  ConfigHost blind = host();
  blind.memory = []() -> Result<broker::MemoryCapacity> {
    return fail(ErrorCode::kIo, "no /proc");
  };
  const auto unknown = parse_config("[resources.ram]\ncapacity = \"50%\"\n", "m.toml", blind);
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message(), AllOf(StartsWith("m.toml:2:12: "), HasSubstr("no /proc")));
}

TEST(Config, ChecksPaths) {
  for (const char* path : {"", "/a", "a/", "a//b", "a b", "../x", "-a", "a/\\u0001"}) {
    EXPECT_THAT(error(kRam + "[[tenant]]\npath = \"" + path + "\"\n"),
                AllOf(StartsWith("m.toml:4:8: "), HasSubstr("such as \"acme/etl\"")))
        << path;
  }
  EXPECT_THAT(error(kRam + "[[tenant]]\npath = \"" + std::string(256, 'a') + "\"\n"),
              StartsWith("m.toml:4:8: "));
  EXPECT_THAT(error(kRam + "[[tenant]]\nweight = 1\n"),
              AllOf(StartsWith("m.toml:3:1: "), HasSubstr("has no path")));
  EXPECT_THAT(error("runtime_directory = \"here\"\n" + kRam), HasSubstr("absolute path"));
  EXPECT_THAT(error(kRam + "[socket]\nmode = \"rw\"\n"), HasSubstr("octal"));
}

TEST(Config, RefusesATenantGivenTwice) {
  EXPECT_EQ(error(kRam + "[[tenant]]\npath = \"a\"\n[[tenant]]\npath = \"a\"\n"),
            "m.toml:6:8: tenant \"a\" is there already, at line 4; each path may be given once");
}

TEST(Config, LooksNamesUp) {
  EXPECT_THAT(tenant_error("uids = [1, \"bob\"]"),
              AllOf(StartsWith("m.toml:5:12: "), HasSubstr("no user \"bob\"")));
  EXPECT_THAT(tenant_error("gids = [\"bobs\"]"), HasSubstr("no group \"bobs\""));
  EXPECT_THAT(tenant_error("gids = [-1]"), StartsWith("m.toml:5:9: -1 is no group id"));
  EXPECT_THAT(tenant_error("uids = [4294967295]"), StartsWith("m.toml:5:9: "));
}

TEST(Config, RefusesGuaranteesThatCannotBeKept) {
  EXPECT_THAT(tenant_error("guarantee = \"2MiB\"\nlimit = \"1MiB\""),
              AllOf(StartsWith("m.toml:5:13: "), HasSubstr("own limit")));
  EXPECT_THAT(
      tenant_error("guarantee = \"600MiB\"\n[[tenant]]\npath = \"b\"\nguarantee = \"500MiB\""),
      AllOf(StartsWith("m.toml:2:12: "), HasSubstr("sum to 1153433600 bytes")));
  // A parent's promise is the larger of its own and those below it.
  good(kRam +
       "[[tenant]]\npath = \"a\"\nguarantee = \"1GiB\"\n"
       "[[tenant]]\npath = \"a/b\"\nguarantee = \"1GiB\"\n");
  EXPECT_THAT(error(kRam + "[[tenant]]\npath = \"a\"\nlimit = \"100MiB\"\n"
                           "[[tenant]]\npath = \"a/b/c\"\nguarantee = \"60MiB\"\n"
                           "[[tenant]]\npath = \"a/d\"\nguarantee = \"60MiB\"\n"),
              AllOf(StartsWith("m.toml:4:8: "), HasSubstr("above its limit")));
  EXPECT_THAT(error(kRam + "[[tenant]]\npath = \"a\"\nguarantee = \"5000000TiB\"\n"
                           "[[tenant]]\npath = \"b\"\nguarantee = \"5000000TiB\"\n"),
              HasSubstr("above the capacity"));
}

TEST(Config, ChecksOtherResourcesOfATenant) {
  EXPECT_THAT(tenant_error("[tenant.resources.gpu]"),
              AllOf(StartsWith("m.toml:5:19: "), HasSubstr("no [resources.gpu]")));
  EXPECT_THAT(tenant_error("[tenant.resources.ram]"), HasSubstr("directly below [[tenant]]"));
}

TEST(Config, ReportsAllErrorsByPosition) {
  const std::string text = tenant_error("weight = \"0\"\npriority = \"x\"\nzzz = 1");
  EXPECT_THAT(text, HasSubstr("m.toml:5:10: "));
  EXPECT_THAT(text, HasSubstr("\nm.toml:6:12: "));
  EXPECT_THAT(text, HasSubstr("\nm.toml:7:1: "));
  std::string many = kRam;
  for (int i = 0; i < 50; ++i) many += "x" + std::to_string(i) + "yzzy = 1\n";
  EXPECT_THAT(error(many), HasSubstr("and 30 more errors"));
}

TEST(Config, IsReadFromAFile) {
  const membroker::testing::TemporaryFolder folder;
  folder.write("m.toml", kRam + "x = 1\n");
  const auto bad = load_config(folder.path("m.toml"), host());
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().message(), StartsWith(folder.path("m.toml") + ":3:1: "));
  const auto missing = load_config(folder.path("none"), host());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message(), HasSubstr("--config"));
  folder.write("large", std::string(2'000'000, '#'));
  EXPECT_FALSE(load_config(folder.path("large"), host()));
}

TEST(Config, KnowsTheUsersOfThisMachine) {
  const ConfigHost here = ConfigHost::system();
  EXPECT_EQ(here.uid_of("root"), 0u);
  EXPECT_EQ(here.gid_of("root"), 0u);
  EXPECT_FALSE(here.uid_of("no such user"));
  EXPECT_TRUE(here.memory());
}

}  // namespace
}  // namespace membroker::app
