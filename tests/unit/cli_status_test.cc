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
      R"({"unit":"u","epoch":1,"protection":"protected","replicas":[)"
      R"({"id":"a","role":"primary","sender":false,"state":"live","app_pid":14,)"
      R"("supervisor_pid":11,"keeper_pid":12,"host":"h","lsn":1000,"lag_records":3,"log_bytes":500,)"
      R"("input_bytes":200,"kernel_calls":30,"wake_calls":20,"spin_calls":10,"no_calls_ms":0,"no_calls_in":""},)"
      R"({"id":"b","role":"secondary","sender":true,"state":"replaying","app_pid":14,)"
      R"("supervisor_pid":11,"keeper_pid":12,"host":"h","lsn":1000,"lag_records":3,"log_bytes":500,)"
      R"("input_bytes":200,"kernel_calls":30,"wake_calls":20,"spin_calls":10,"no_calls_ms":0,"no_calls_in":""}]})");
  EXPECT_TRUE(status_text(status).starts_with("protected"));
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
