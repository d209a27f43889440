// SPDX-License-Identifier: Apache-2.0
// How a unit's status is put together from answers, files and the published view.
#include <gtest/gtest.h>

#include "cli/unit_status.h"

namespace ftrun::cli {
namespace {

const std::vector<ReplicaFile> kFiles = {{"a", 11, 12, 13, 14}, {"b", 21, 22, 23, 24}};

nlohmann::json answer(const char* state) {
  return {{"state", state},     {"app_pid", 14},      {"supervisor_pid", 11}, {"keeper_pid", 12},
          {"host", "h"},        {"lsn", 1000},        {"lag_records", 3},     {"log_bytes", 500},
          {"input_bytes", 200}, {"kernel_calls", 30}, {"wake_calls", 20},     {"spin_calls", 10}};
}

TEST(UnitStatus, TwoInTheViewAreProtected) {
  const UnitStatus status = combine_status(
      "u", kFiles, {{"a", answer("live")}, {"b", answer("replaying")}}, {"a", "b"}, "b", 1);
  EXPECT_EQ(status.protection, Protection::kProtected);
  EXPECT_EQ(
      status_json(status).dump(),
      R"({"unit":"u","epoch":1,"protection":"protected","topology":"","settled":false,"may_die":0,)"
      R"("slowest":"","slowest_lag_bytes":0,"primary_waits":false,"replicas":[)"
      R"({"id":"a","role":"primary","sender":false,"state":"live","app_pid":14,)"
      R"("supervisor_pid":11,"keeper_pid":12,"host":"h","lsn":1000,"lag_records":3,"received":0,"replayed":0,"kept_bytes":0,"turn_bytes_sent":0,"input_bytes_sent":0,"log_bytes":500,)"
      R"("input_bytes":200,"kernel_calls":30,"wake_calls":20,"spin_calls":10,"no_calls_ms":0,"no_calls_in":"","stays_primary":""},)"
      R"({"id":"b","role":"secondary","sender":true,"state":"replaying","app_pid":14,)"
      R"("supervisor_pid":11,"keeper_pid":12,"host":"h","lsn":1000,"lag_records":3,"received":0,"replayed":0,"kept_bytes":0,"turn_bytes_sent":0,"input_bytes_sent":0,"log_bytes":500,)"
      R"("input_bytes":200,"kernel_calls":30,"wake_calls":20,"spin_calls":10,"no_calls_ms":0,"no_calls_in":"","stays_primary":""}]})");
  EXPECT_TRUE(status_text(status).starts_with("protected"));
}

nlohmann::json member(const char* state, uint64_t epoch, const char* primary) {
  nlohmann::json said = answer(state);
  said["epoch"] = epoch;
  said["primary"] = primary;
  said["settled"] = primary[0] != '\0';
  said["topology"] = "fanout";
  said["tolerance"] = 2;
  return said;
}

TEST(UnitStatus, ThePrimaryIsWhomTheNewestEpochNames) {
  UnitStatus status = combine_status("u", {},
                                     {{"b", member("replaying", 1, "b")},
                                      {"c", member("live", 2, "c")},
                                      {"d", member("replaying", 2, "")}},
                                     {"b", "c", "d"}, "d", 2);
  EXPECT_EQ(status.replicas[0].role, "secondary");
  EXPECT_EQ(status.replicas[1].role, "primary");
  EXPECT_FALSE(status.settled);
  EXPECT_EQ(status.topology, "fanout");
  EXPECT_EQ(status.may_die, 2);
  EXPECT_TRUE(status_text(status).starts_with(
      "protected: unit u, view 2 (being settled), fanout, 2 more may die\n"));
  status =
      combine_status("u", {}, {{"c", member("live", 3, "c")}, {"d", member("replaying", 3, "c")}},
                     {"c", "d"}, "d", 3);
  EXPECT_TRUE(status.settled);
  EXPECT_EQ(status.may_die, 1);
}

TEST(UnitStatus, WhoSlowsThePrimaryIsNamed) {
  nlohmann::json primary = member("live", 1, "a");
  primary["slowest"] = "c";
  primary["slowest_lag_bytes"] = 70000;
  primary["waits"] = true;
  const UnitStatus status = combine_status(
      "u", {},
      {{"a", primary}, {"b", member("replaying", 1, "a")}, {"c", member("replaying", 1, "a")}},
      {"a", "b", "c"}, "c", 1);
  EXPECT_NE(status_text(status).find(
                "SLOWED: the primary waits for replica c, which is 70000 bytes of log behind\n"),
            std::string::npos);
}

TEST(UnitStatus, AnExcludedReplicaIsListedAsFailed) {
  const UnitStatus status = combine_status("u", kFiles, {{"b", answer("live")}}, {"b"}, "b", 2);
  EXPECT_EQ(status.protection, Protection::kUnprotected);
  ASSERT_EQ(status.replicas.size(), 2u);
  EXPECT_EQ(status.replicas[0].role, "primary");
  EXPECT_TRUE(status.replicas[0].sender);
  EXPECT_EQ(status.replicas[1].id, "a");
  EXPECT_EQ(status.replicas[1].state, "failed");
  EXPECT_EQ(status.replicas[1].role, "none");
  EXPECT_FALSE(status.replicas[1].sender);
  EXPECT_EQ(status.replicas[1].supervisor_pid, 11);
}

TEST(UnitStatus, AReplicaThatDoesNotAnswerDoesNotProtect) {
  const UnitStatus status =
      combine_status("u", kFiles, {{"a", answer("live")}}, {"a", "b"}, "b", 1);
  EXPECT_EQ(status.protection, Protection::kUnprotected);
  EXPECT_EQ(status.replicas[1].state, "failed");
}

TEST(UnitStatus, AnExcludedReplicaThatStillAnswersDoesNotCount) {
  const UnitStatus status =
      combine_status("u", kFiles, {{"a", answer("live")}, {"b", answer("live")}}, {"b"}, "b", 2);
  EXPECT_EQ(status.protection, Protection::kUnprotected);
  EXPECT_EQ(status.replicas[1].state, "failed");
}

TEST(UnitStatus, AJoiningReplicaMeansRepairing) {
  const UnitStatus status = combine_status(
      "u", kFiles, {{"a", answer("live")}, {"b", answer("joining")}}, {"a", "b"}, "a", 3);
  EXPECT_EQ(status.protection, Protection::kRepairing);
  EXPECT_EQ(protection_exit_code(status.protection), 2);
}

TEST(UnitStatus, AnAnswerOfTheWrongTypesIsNotTrusted) {
  const nlohmann::json strange = {{"state", 1},         {"app_pid", "x"},
                                  {"host", nullptr},    {"lsn", -1},
                                  {"lag_records", 1.5}, {"log_bytes", {1}},
                                  {"keeper_pid", true}, {"supervisor_pid", 1ull << 40}};
  const UnitStatus status = combine_status("u", kFiles, {{"a", strange}}, {"a"}, "a", 1);
  EXPECT_EQ(status.protection, Protection::kUnprotected);
  EXPECT_EQ(status.replicas[0].state, "failed");
  EXPECT_EQ(status.replicas[0].app_pid, 0);
  EXPECT_EQ(status.replicas[0].supervisor_pid, 0);
  EXPECT_EQ(status.replicas[0].lsn, 0u);
}

TEST(UnitStatus, ARefusalNeedNotBeWellFormed) {
  EXPECT_TRUE(decode_answer(R"({"ok":true})").ok());
  EXPECT_TRUE(decode_answer(R"({"state":"live"})").ok());
  EXPECT_EQ(decode_answer("[1]").error().message, "answered what is no JSON object");
  EXPECT_EQ(decode_answer(R"({"ok":false,"error":"no"})").error().message, "refused: no");
  for (const char* bad : {R"({"ok":false})", R"({"ok":"yes"})", R"({"ok":false,"error":7})"}) {
    EXPECT_EQ(decode_answer(bad).error().message, "refused: no reason given") << bad;
  }
}

}  // namespace
}  // namespace ftrun::cli
