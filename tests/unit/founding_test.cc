// SPDX-License-Identifier: Apache-2.0
// What supervisors inherit: connected links of their own, the program's words; strangers who
// connect meanwhile are at no end of a link.
#include "supervisor/members/founding.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <map>

namespace ftrun {
namespace {

const std::vector<std::string> kProgram = {"server", "--requirepass", "secret word", "", "last"};

// As a supervisor that was started with these words takes it. Descriptors are copied: the test is
// all of the processes.
Result<Inherited> take(const Founding& founding, unit::ReplicaId self, unsigned replicas) {
  InheritedNumbers inherited;
  std::map<std::string, int> numbers;
  const std::vector<std::string> words = founding.options(self);
  for (size_t i = 0; i + 1 < words.size(); i += 2) {
    const size_t at = words[i + 1].find('=');
    const int fd = dup(std::stoi(words[i + 1].substr(at == std::string::npos ? 0 : at + 1)));
    if (words[i] == "--link") {
      inherited.links.push_back(words[i + 1].substr(0, at + 1) + std::to_string(fd));
    } else {
      numbers[words[i]] = fd;
    }
  }
  inherited.memory = numbers["--unit-memory"];
  inherited.console = numbers["--console"];
  inherited.program = numbers["--program"];
  return take_inherited(self, replicas, inherited);
}

class FoundingTest : public ::testing::TestWithParam<bool> {};

TEST_P(FoundingTest, EachGetsALinkToEachOther) {
  auto founding = Founding::create(3, GetParam(), kProgram);
  ASSERT_TRUE(founding.ok()) << founding.error().message;
  std::vector<Inherited> all;
  for (unit::ReplicaId self = 0; self < 3; ++self) {
    auto inherited = take(*founding, self, 3);
    ASSERT_TRUE(inherited.ok()) << inherited.error().message;
    EXPECT_EQ(inherited->program, kProgram);
    ASSERT_EQ(inherited->links.size(), 2u);
    for (const Inherited::Link& link : inherited->links) {
      const std::string text{static_cast<char>('0' + self), static_cast<char>('0' + link.to)};
      ASSERT_EQ(send(link.socket.get(), text.data(), 2, 0), 2);
      EXPECT_NE(fcntl(link.socket.get(), F_GETFD) & FD_CLOEXEC, 0);
    }
    all.push_back(std::move(*inherited));
  }
  for (unit::ReplicaId self = 0; self < 3; ++self) {
    for (const Inherited::Link& link : all[self].links) {
      char text[3] = {};
      ASSERT_EQ(recv(link.socket.get(), text, 2, 0), 2);
      EXPECT_EQ(text[0], '0' + link.to);
      EXPECT_EQ(text[1], '0' + self);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tcp, FoundingTest, ::testing::Bool());

InheritedNumbers numbers(const std::string& link, const std::vector<std::string>& program) {
  InheritedNumbers numbers;
  if (!link.empty()) {
    numbers.links = {link};
  }
  numbers.memory = dup(UnitMemory::create()->fd());
  numbers.console = dup(ConsoleSpool::create()->fd());
  numbers.program = program_file(program)->release();
  return numbers;
}

TEST(Inherited, WhatIsNotWhatItShouldBeIsRefused) {
  auto founding = Founding::create(2, false, kProgram);
  ASSERT_TRUE(founding.ok());
  EXPECT_FALSE(take(*founding, 0, 3).ok()) << "a link is missing";
  EXPECT_FALSE(take(*founding, 0, 1).ok()) << "a link too many";
  const auto with_link = [&](const std::string& text) {
    return take_inherited(0, 2, numbers(text, kProgram)).ok();
  };
  for (const char* bad : {"", "b", "b=", "b=x", "=1", "a=0", "b=99999", "b=-1"}) {
    EXPECT_FALSE(with_link(bad)) << bad;
  }
  const int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_FALSE(with_link("b=" + std::to_string(file))) << "no socket";
  close(file);
  EXPECT_FALSE(take_inherited(0, 1, numbers("", {})).ok()) << "no program";
  EXPECT_TRUE(take_inherited(0, 1, numbers("", kProgram)).ok());
  InheritedNumbers unsealed = numbers("", kProgram);
  ASSERT_GE(dup2(memfd_create("unsealed", MFD_CLOEXEC), unsealed.console), 0);
  EXPECT_FALSE(take_inherited(0, 1, unsealed).ok()) << "no console";
}

TEST(Hiding, WordsAreWiped) {
  char first[] = "secret", second[] = "word";
  char* words[] = {first, second};
  hide_words(words, 2);
  EXPECT_EQ(std::string(first, 6), std::string(6, '\0'));
  EXPECT_EQ(std::string(second, 4), std::string(4, '\0'));
}

}  // namespace
}  // namespace ftrun
