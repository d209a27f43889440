// SPDX-License-Identifier: Apache-2.0
// Files of a run directory that are damaged, or hold what no file name and no number should.
#include "cli/unit_files.h"

#include <gtest/gtest.h>

namespace ftrun::cli {
namespace {

TEST(UnitFiles, AProgramWhoseNameIsNoUtf8CanBeWrittenDown) {
  const std::string text = encode_unit_file({"u", 2, "caf\xe9", 7});
  const auto unit = decode_unit_file(text);
  ASSERT_TRUE(unit.ok());
  EXPECT_EQ(*unit, (UnitFile{"u", 2, "caf\xef\xbf\xbd", 7}));
}

TEST(UnitFiles, AFieldThatIsMissingIsEmptyButTheWrongTypeIsDamage) {
  EXPECT_EQ(*decode_unit_file("{}"), UnitFile{});
  EXPECT_EQ(*decode_replica_file("a", R"({"keeper":5})"), (ReplicaFile{"a", 0, 5, 0, 0}));
  for (const char* bad : {"", "[", "1", "{\"unit\":1}", "{\"replicas\":\"2\"}",
                          "{\"program\":null}", "{\"ftrun\":4294967297}"}) {
    EXPECT_FALSE(decode_unit_file(bad).ok()) << bad;
  }
  for (const char* bad : {"", "{\"supervisor\":\"1\"}", "{\"keeper\":2147483648}", "{\"init\":1.5}",
                          "{\"application\":true}"}) {
    EXPECT_FALSE(decode_replica_file("a", bad).ok()) << bad;
  }
}

TEST(UnitFiles, NamesOfReplicaFiles) {
  EXPECT_EQ(replica_of_file("sup.a.json"), "a");
  for (const char* other : {"sup.json", "sup..json", "sup.a.sock", "sup.a.json.tmp", ".json"}) {
    EXPECT_FALSE(replica_of_file(other)) << other;
  }
}

TEST(UnitFiles, ExitStatusIsOneNumber) {
  EXPECT_EQ(decode_exit_status("143\n"), 143);
  for (const char* bad : {"0143\n", "", "\n", "1", "1 \n", "1\n1\n", "x\n", "99999999999\n"}) {
    EXPECT_FALSE(decode_exit_status(bad)) << bad;
  }
}

TEST(UnitFiles, TheLastEventAmongLinesThatAreNone) {
  const std::string lines =
      "{\"kind\":\"lost\",\"text\":\"first\"}\n[1]\n\n{\"kind\":5}\n\xff\n"
      "{\"kind\":\"lost\",\"text\":\"last\"}\n{\"kind\":\"other\",\"text\":\"x\"}\n{\"kind\":\"lo";
  EXPECT_EQ(last_event_in(lines, {"lost"}), "last");
  EXPECT_EQ(last_event_in("{\"kind\":\"lost\",\"text\":[]}", {"lost"}), "");
  EXPECT_EQ(last_event_in("", {"lost"}), "");
}

}  // namespace
}  // namespace ftrun::cli
