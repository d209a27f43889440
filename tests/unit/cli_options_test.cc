// SPDX-License-Identifier: Apache-2.0
// ftrun's command line: what is ftrun's, what is the program's, and what is refused.
#include "cli/options.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cli/supervisors.h"
#include "supervisor/edge/edge.h"
#include "supervisor/unit/limits.h"

namespace ftrun::cli {
namespace {

ParsedOptions parse(std::vector<const char*> words) {
  words.insert(words.begin(), "ftrun");
  return parse_run_options(static_cast<int>(words.size()), words.data());
}

using Words = std::vector<std::string>;

TEST(RunOptions, TheProgramsOwnOptionsAreLeftAlone) {
  for (const auto& parsed : {parse({"--replicas", "1", "server", "--unit", "x", "--", "-h"}),
                             parse({"--replicas=1", "--", "server", "--unit", "x", "--", "-h"})}) {
    ASSERT_FALSE(parsed.done) << parsed.text;
    EXPECT_EQ(parsed.options.command, (Words{"server", "--unit", "x", "--", "-h"}));
    EXPECT_EQ(parsed.options.replicas, 1);
    EXPECT_EQ(parsed.options.unit, "server");
  }
}

TEST(RunOptions, AreTakenAsGiven) {
  const auto parsed =
      parse({"--unit", "u", "--state-dir", "/a", "--state-dir", "/b", "--run-dir", "/run/u",
             "--time-out-ms", "300", "--recover", "--record-log", "/log", "/usr/bin/server"});
  ASSERT_FALSE(parsed.done) << parsed.text;
  EXPECT_EQ(parsed.options.unit, "u");
  EXPECT_EQ(parsed.options.replicas, 2);
  EXPECT_EQ(parsed.options.state_dirs, (Words{"/a", "/b"}));
  EXPECT_EQ(parsed.options.run_dir, "/run/u");
  EXPECT_EQ(parsed.options.time_out_ms, 300);
  EXPECT_TRUE(parsed.options.recover);
  EXPECT_EQ(parsed.options.record_log, "/log");
  EXPECT_EQ(parsed.options.command, Words{"/usr/bin/server"});
}

TEST(RunOptions, SizesHaveUnitsAndBounds) {
  const auto parsed = parse({"--run-ahead", "512k", "--input-memory=2M", "--orphan-memory", "1G",
                             "--replicas=3", "--topology=fanout", "--sender-lag", "on", "server"});
  ASSERT_FALSE(parsed.done) << parsed.text;
  EXPECT_EQ(parsed.options.run_ahead_bytes, 512u << 10);
  EXPECT_EQ(parsed.options.input_memory_bytes, 2u << 20);
  EXPECT_EQ(parsed.options.orphan_memory_bytes, 1u << 30);
  EXPECT_EQ(parsed.options.sender_lag, "on");
  EXPECT_EQ(parsed.options.command, Words{"server"});
  const RunOptions defaults = parse({"server"}).options;
  EXPECT_EQ(defaults.run_ahead_bytes, unit::kLogRunAheadBytesMax);
  EXPECT_EQ(defaults.input_memory_bytes, unit::kInputStoreBytesMax);
  EXPECT_EQ(defaults.orphan_memory_bytes, edge::kOrphanBytesMax);
  EXPECT_EQ(defaults.sender_lag, "off");
}

TEST(RunOptions, TheUnitIsNamedAfterTheProgram) {
  EXPECT_EQ(parse({"./bin/legacy_server"}).options.unit, "legacy_server");
}

void expect_misuse(const std::vector<const char*>& words, const std::string& part) {
  const auto parsed = parse(words);
  EXPECT_TRUE(parsed.done);
  EXPECT_EQ(parsed.exit_code, 2);
  EXPECT_NE(parsed.text.find(part), std::string::npos) << parsed.text;
}

TEST(RunOptions, MisuseIsNamed) {
  expect_misuse({}, "no program is given");
  expect_misuse({"--"}, "no program is given");
  expect_misuse({"--replica", "1", "server"}, "--replica");
  expect_misuse({"--replicas", "10", "server"}, "not in range 1 to 9");
  expect_misuse({"--replicas", "two", "server"}, "--replicas");
  expect_misuse({"--run-ahead", "100k", "server"}, "--run-ahead");
  expect_misuse({"--input-memory", "2G", "server"}, "--input-memory");
  expect_misuse({"--orphan-memory", "many", "server"}, "--orphan-memory");
  expect_misuse({"--sender-lag", "on", "--replicas=3", "server"}, "goes with --topology fanout");
  expect_misuse({"--sender-lag", "on", "--topology=fanout", "server"}, "nobody stands by");
  expect_misuse(
      {"--sender-lag", "on", "--topology=fanout", "--replicas=3", "--logging=early", "server"},
      "does not go with --logging early");
  for (const char* value : {"10", "59", "60001", "-150", "150ms", "1.5", "x", ""}) {
    expect_misuse({"--time-out-ms", value, "server"}, "--time-out-ms");
  }
  expect_misuse({"--on-crash", "ignore", "server"}, "--on-crash");
  expect_misuse({"--transport", "udp", "server"}, "--transport");
  expect_misuse({"--topology", "ring", "server"}, "--topology");
  expect_misuse({"--promote", "oldest", "server"}, "--promote");
  expect_misuse({"--logging", "never", "server"}, "--logging");
  expect_misuse({"--tolerance", "0", "server"}, "--tolerance");
  for (const char* value : {"-1", "3600001", "5s", ""}) {
    expect_misuse({"--quarantine-hold", value, "server"}, "--quarantine-hold");
  }
  expect_misuse({"--run-dir", "relative", "server"}, "--run-dir must be absolute, not 'relative'");
  expect_misuse({"--unit", "a/b", "server"}, "'a/b' is no name for a unit");
  expect_misuse({"--unit"}, "--unit");
  expect_misuse({"--unit", "", "server"}, "no name for a unit");
}

TEST(RunOptions, WhatDoesNotGoTogetherIsRefusedWithTheReason) {
  expect_misuse({"--tolerance", "2", "server"}, "with 2 copies at most 1 may die");
  expect_misuse({"--replicas", "5", "--tolerance", "5", "server"}, "with 5 copies at most 4");
  expect_misuse({"--replicas", "1", "--tolerance", "1", "server"}, "with 1 copy at most 0");
  expect_misuse({"--replicas", "3", "--promote", "designated", "server"}, "--topology fanout");
  expect_misuse({"--logging", "independent", "--input", "log", "server"}, "--input reference");
  expect_misuse({"--replicas", "3", "--transport", "memory", "server"}, "is for two copies, not 3");
  expect_misuse({"--logging", "early", "--on-crash", "quarantine", "server"},
                "does not go with --logging early");
}

TEST(RunOptions, EarlyLoggingGivesACrashingRequestToTheSurvivor) {
  EXPECT_EQ(parse({"server"}).options.on_crash, "quarantine");
  const auto early = parse({"--logging", "early", "--replicas", "5", "server"});
  EXPECT_FALSE(early.done) << early.text;
  EXPECT_EQ(early.options.on_crash, "retry");
}

TEST(RunOptions, RingsAreSharedByTwoAtMost) {
  EXPECT_EQ(parse({"server"}).options.transport, "memory");
  EXPECT_EQ(parse({"--replicas", "1", "server"}).options.transport, "memory");
  EXPECT_EQ(parse({"--replicas", "3", "server"}).options.transport, "unix");
  EXPECT_EQ(parse({"--replicas=9", "--transport=tcp", "server"}).options.transport, "tcp");
}

TEST(RunOptions, HelpAndVersionAreNoMisuse) {
  EXPECT_EQ(parse({"--help"}).exit_code, 0);
  EXPECT_NE(parse({"--help"}).text.find("--state-dir"), std::string::npos);
  EXPECT_NE(parse({"--version"}).text.find("ftrun "), std::string::npos);
}

TEST(SupervisorArguments, SayEverything) {
  const auto parsed = parse({"--state-dir",
                             "/s",
                             "--on-crash",
                             "retry",
                             "--quarantine-hold",
                             "70",
                             "--transport",
                             "tcp",
                             "--spin-limit",
                             "1.5",
                             "--no-filter",
                             "--record-log",
                             "/log",
                             "--replicas",
                             "4",
                             "--topology",
                             "fanout",
                             "--input",
                             "log",
                             "--logging",
                             "early",
                             "--promote",
                             "designated",
                             "--tolerance",
                             "2",
                             "server",
                             "-x"});
  Words expected = {
      "/sup",  "--unit",        "server", "--run-dir",    "/run/u",     "--replica",
      "b",     "--replicas",    "4",      "--topology",   "fanout",     "--input",
      "log",   "--logging",     "early",  "--promote",    "designated", "--tolerance",
      "2",     "--time-out-ms", "150",    "--on-crash",   "retry",      "--quarantine-hold",
      "70",    "--transport",   "tcp",    "--spin-limit", "1500",       "--stop-grace",
      "2000",  "--filter",      "off",    "--state-dir",  "/s",         "--record-log",
      "/log.b"};
  const Words queues = {"--run-ahead",     "8388608",  "--input-memory", "33554432",
                        "--orphan-memory", "67108864", "--sender-lag",   "off"};
  expected.insert(std::find(expected.begin(), expected.end(), "--on-crash"), queues.begin(),
                  queues.end());
  EXPECT_EQ(supervisor_arguments("/sup", parsed.options, "/run/u", "b"), expected);
}

}  // namespace
}  // namespace ftrun::cli
