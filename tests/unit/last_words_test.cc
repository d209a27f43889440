// SPDX-License-Identifier: Apache-2.0
// What stands in an output ring behind its last turn, and which of it a survivor has not said.
#include "supervisor/replica/last_words.h"

#include <gtest/gtest.h>

#include <cstring>

#include "eventlog/output.h"

namespace ftrun {
namespace {

class LastWordsTest : public testing::Test {
 protected:
  void SetUp() override {
    region_ = std::move(*Region::create(Role::kPrimary, {}));
    ring_ = region_.producer(kRingOutput);
  }
  void put(OutputKind kind, uint32_t id, std::string_view text) {
    Output entry;
    entry.kind = kind;
    entry.id = id;
    entry.data = reinterpret_cast<const uint8_t*>(text.data());
    entry.length = text.size();
    uint8_t* room = ring_.reserve(kOutputHeaderBytesMax + text.size());
    ASSERT_NE(room, nullptr);
    const size_t header = put_output_header(room, entry);
    std::memcpy(room + header, text.data(), text.size());
    ring_.advance(header + text.size());
    region_.control()->said_end.store(ring_.written());
  }
  Region region_;
  RingProducer ring_;
};

TEST_F(LastWordsTest, AreThoseOfTheTurnThatNeverEnded) {
  put(OutputKind::kConsole, 2, "before\n");
  ring_.publish();
  EXPECT_TRUE(read_last_words(region_).pieces.empty());
  put(OutputKind::kConsole, 1, "to be ");
  put(OutputKind::kWrite, 5, "an answer");
  put(OutputKind::kNotice, 0, "refused");
  put(OutputKind::kConsole, 2, "or not\n");
  const LastWords words = read_last_words(region_);
  ASSERT_EQ(words.pieces.size(), 2u);
  EXPECT_EQ(words.pieces[0].stream, 1);
  EXPECT_EQ(words.pieces[1].stream, 2);
  EXPECT_EQ(words.text(), "to be or not\n");
  EXPECT_EQ(words.notices, std::vector<std::string>{"refused"});
}

TEST_F(LastWordsTest, AreTheLastOnesWhereThereAreMany) {
  for (int i = 0; i < 100; ++i) {
    put(OutputKind::kConsole, 1, std::string(1000, static_cast<char>('a' + i % 26)));
  }
  put(OutputKind::kConsole, 2, "the end");
  const LastWords words = read_last_words(region_);
  EXPECT_EQ(words.text().size(), kLastWordsBytesMax);
  EXPECT_TRUE(words.text().ends_with("vthe end"));
}

TEST_F(LastWordsTest, ADamagedRingEndsThem) {
  put(OutputKind::kConsole, 1, "sound");
  for (const uint64_t end : {uint64_t{0} - 1, uint64_t{1} << 40, kRingBytes[kRingOutput] + 1}) {
    region_.control()->said_end.store(end);
    EXPECT_TRUE(read_last_words(region_).pieces.empty());
  }
  region_.control()->said_end.store(kRingBytes[kRingOutput]);
  EXPECT_LE(read_last_words(region_).text().size(), kLastWordsBytesMax);
}

TEST(HeldWords, WhatTheSurvivorSaysItselfIsNotSaidTwice) {
  HeldWords words;
  words.hold("a", "one\nassertion failed\n", 5);
  EXPECT_FALSE(words.is_due(5));
  EXPECT_TRUE(words.is_due(5 + kHeldWordsNs));
  words.heard("one\ntw");
  words.heard("o\n");
  EXPECT_EQ(words.take(), "ftrun: replica a ended when it had written:\nassertion failed\n");
  EXPECT_FALSE(words.is_due(5 + kHeldWordsNs));
  EXPECT_EQ(words.take(), "");
}

TEST(HeldWords, NothingIsLeftOfARepetition) {
  HeldWords words;
  words.hold("a", "one\ntwo", 0);
  words.heard("one\ntwo\nthree\n");
  EXPECT_EQ(words.take(), "");
}

}  // namespace
}  // namespace ftrun
