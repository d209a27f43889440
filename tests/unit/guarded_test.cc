// SPDX-License-Identifier: Apache-2.0
// The guarded copies of the shim, with every length at every distance from memory that cannot be
// touched. Runs in the test process, whose handler of faults is fake_env's.
#include "preload/guarded.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "tests/unit/fake_env.h"

namespace ftrun::shim {
namespace {

constexpr size_t kPageBytes = 4096;

// Two pages that can be touched between two that cannot.
class GuardedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fake::reset();
    void* map = mmap(nullptr, 4 * kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(map, MAP_FAILED);
    begin_ = static_cast<uint8_t*>(map) + kPageBytes;
    end_ = begin_ + 2 * kPageBytes;
    ASSERT_EQ(mprotect(begin_, 2 * kPageBytes, PROT_READ | PROT_WRITE), 0);
    std::iota(begin_, end_, uint8_t{1});
  }
  void TearDown() override { munmap(begin_ - kPageBytes, 4 * kPageBytes); }

  uint8_t* begin_ = nullptr;
  uint8_t* end_ = nullptr;
};

TEST_F(GuardedTest, CopiesEveryLength) {
  for (size_t n = 0; n <= 2 * kPageBytes; n += n < 700 ? 1 : 97) {
    std::vector<uint8_t> copy(n + 2, 0xee);
    ASSERT_EQ(copy_in(copy.data() + 1, end_ - n, n), n);
    ASSERT_EQ(std::memcmp(copy.data() + 1, end_ - n, n), 0) << n;
    ASSERT_EQ(copy.front(), 0xee);
    ASSERT_EQ(copy.back(), 0xee);
  }
}

TEST_F(GuardedTest, CopiesInUpToTheLastByteThatCanBeRead) {
  for (size_t there = 0; there <= 600; ++there) {
    for (const size_t beyond : {1, 2, 3, 7, 15, 16, 17, 100, 600}) {
      std::vector<uint8_t> copy(there + beyond + 1, 0xee);
      ASSERT_EQ(copy_in(copy.data(), end_ - there, there + beyond), there) << beyond;
      ASSERT_EQ(std::memcmp(copy.data(), end_ - there, there), 0) << there;
      ASSERT_EQ(copy.back(), 0xee);
    }
  }
}

TEST_F(GuardedTest, CopiesOutUpToTheLastByteThatCanBeWritten) {
  std::vector<uint8_t> from(1300);
  std::iota(from.begin(), from.end(), uint8_t{77});
  for (size_t there = 0; there <= 600; there += 3) {
    for (const size_t beyond : {1, 5, 16, 33, 600}) {
      std::memset(begin_, 0, 2 * kPageBytes);
      ASSERT_EQ(copy_out(end_ - there, from.data(), there + beyond), there) << beyond;
      ASSERT_EQ(std::memcmp(from.data(), end_ - there, there), 0) << there;
      ASSERT_EQ(end_[-static_cast<long>(there) - 1], 0);
    }
  }
}

TEST_F(GuardedTest, CopiesNothingThroughPointersThatCanNeverBe) {
  uint64_t value = 7;
  const uint64_t non_canonical = 0x8000000000000000;
  for (const uint64_t address : {uint64_t{0}, uint64_t{8}, non_canonical, ~uint64_t{15},
                                 reinterpret_cast<uint64_t>(begin_) - 1}) {
    EXPECT_FALSE(get_in(&value, reinterpret_cast<void*>(address)));
    EXPECT_FALSE(put_out(reinterpret_cast<void*>(address), value));
    EXPECT_EQ(clear_out(reinterpret_cast<void*>(address), 100), 0U);
    char text[8];
    EXPECT_EQ(string_in(text, reinterpret_cast<char*>(address), sizeof(text)), -EFAULT);
    uint32_t expected = 0;
    EXPECT_EQ(exchange_word(reinterpret_cast<uint32_t*>(address & ~uint64_t{3}), &expected, 1),
              -EFAULT);
  }
}

TEST_F(GuardedTest, WritesNothingIntoMemoryThatCanOnlyBeRead) {
  ASSERT_EQ(mprotect(begin_, kPageBytes, PROT_READ), 0);
  uint64_t value = 0;
  EXPECT_TRUE(get_in(&value, begin_));
  EXPECT_FALSE(put_out(begin_, value));
  EXPECT_EQ(clear_out(begin_, 4), 0U);
}

TEST_F(GuardedTest, EndsWhereAMappedFileEnds) {
  char name[] = "/tmp/ftrun-guarded-XXXXXX";
  const int fd = mkstemp(name);
  ASSERT_GE(fd, 0);
  unlink(name);
  ASSERT_EQ(ftruncate(fd, kPageBytes), 0);
  auto* map = static_cast<uint8_t*>(
      mmap(nullptr, 2 * kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_NE(map, MAP_FAILED);
  std::vector<uint8_t> copy(2 * kPageBytes);
  EXPECT_EQ(copy_in(copy.data(), map + 96, 2 * kPageBytes - 96), kPageBytes - 96);
  EXPECT_EQ(copy_out(map + 96, copy.data(), 2 * kPageBytes - 96), kPageBytes - 96);
  munmap(map, 2 * kPageBytes);
  close(fd);
}

TEST_F(GuardedTest, ClearsUpToTheLastByte) {
  EXPECT_EQ(clear_out(end_ - 100, 60), 60U);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(end_) - 100, 60), std::string(60, '\0'));
  EXPECT_NE(end_[-40], 0);
  EXPECT_EQ(clear_out(end_ - 100, 200), 100U);
  EXPECT_EQ(end_[-1], 0);
}

TEST_F(GuardedTest, TakesStringsWithTheirEnd) {
  char text[16];
  auto* last = reinterpret_cast<char*>(end_) - 4;
  std::memcpy(last, "abc", 4);
  EXPECT_EQ(string_in(text, last, sizeof(text)), 3);
  EXPECT_STREQ(text, "abc");
  EXPECT_EQ(string_in(text, last, 3), 3) << "no room for the end";
  EXPECT_EQ(string_in(text, last + 3, sizeof(text)), 0);
  last[3] = 'd';
  EXPECT_EQ(string_in(text, last, 4), 4);
  EXPECT_EQ(string_in(text, last, 5), -EFAULT);
}

TEST_F(GuardedTest, ExchangesAWordIfItIsAsExpected) {
  uint32_t word = 5;
  uint32_t expected = 5;
  EXPECT_EQ(exchange_word(&word, &expected, 6), 1);
  EXPECT_EQ(word, 6U);
  EXPECT_EQ(exchange_word(&word, &expected, 7), 0);
  EXPECT_EQ(word, 6U);
  EXPECT_EQ(expected, 6U);
}

TEST_F(GuardedTest, TakesArraysOfBuffers) {
  struct iovec taken[kIovecCountMax];
  auto* last = reinterpret_cast<struct iovec*>(end_) - 2;
  last[0] = {begin_, 10};
  last[1] = {begin_, 20};
  EXPECT_EQ(iovecs_in(taken, last, 2), 0);
  EXPECT_EQ(taken[1].iov_len, 20U);
  EXPECT_EQ(iovecs_in(taken, last, 3), -EFAULT);
  EXPECT_EQ(iovecs_in(taken, nullptr, 0), 0);
  EXPECT_EQ(iovecs_in(taken, last, -1), -EINVAL);
  EXPECT_EQ(iovecs_in(taken, last, kIovecCountMax + 1), -EINVAL);
  last[1].iov_len = SIZE_MAX;
  EXPECT_EQ(iovecs_in(taken, last, 2), -EINVAL);
}

}  // namespace
}  // namespace ftrun::shim
