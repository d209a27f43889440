// SPDX-License-Identifier: Apache-2.0
// The application's environment as a pure function of the caller's.
#include "supervisor/process/environment.h"

#include "gtest/gtest.h"

namespace ftrun::process {
namespace {

using Strings = std::vector<std::string>;

TEST(Environment, AddsWhatTheShimNeedsAtTheEnd) {
  const auto result = application_environment({"A=1", "PATH=/bin"}, "/x/libftpreload.so");
  ASSERT_TRUE(result.ok());
  const Strings expected = {"A=1",
                            "PATH=/bin",
                            "LD_PRELOAD=/x/libftpreload.so",
                            "LD_BIND_NOW=1",
                            "GLIBC_TUNABLES=glibc.pthread.rseq=0:glibc.elision.enable=0",
                            "OPENSSL_ia32cap=~0x4000000000000000:~0x40000"};
  EXPECT_EQ(*result, expected);
}

TEST(Environment, MergesInPlaceAndDropsDuplicates) {
  const auto result = application_environment(
      {"LD_PRELOAD=/a.so:/b.so", "B=2", "LD_PRELOAD=/c.so", "LD_BIND_NOW=", "LD_PRELOADER=x"},
      "/shim.so");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ((*result)[0], "LD_PRELOAD=/shim.so:/a.so:/b.so");
  EXPECT_EQ((*result)[1], "B=2");
  EXPECT_EQ((*result)[2], "LD_BIND_NOW=1");
  EXPECT_EQ((*result)[3], "LD_PRELOADER=x");
  EXPECT_EQ(result->size(), 6u);
}

TEST(Environment, RefusesAPathThatLdPreloadCannotExpress) {
  const auto result = application_environment({}, "/my dir/libftpreload.so");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("'/my dir/libftpreload.so'"), std::string::npos);
}

TEST(Environment, KeepsOtherTunables) {
  EXPECT_EQ(merge_tunables("glibc.malloc.arena_max=1:glibc.pthread.rseq=1"),
            "glibc.malloc.arena_max=1:glibc.pthread.rseq=0:glibc.elision.enable=0");
}

TEST(Environment, MasksRdrandInWhateverIsThere) {
  EXPECT_EQ(*merge_ia32cap(""), "~0x4000000000000000:~0x40000");
  EXPECT_EQ(*merge_ia32cap("~0x200000200000000"), "~0x4200000200000000:~0x40000");
  EXPECT_EQ(*merge_ia32cap("0x4000000000000001:0x40001"), "0x1:0x1");
  EXPECT_EQ(*merge_ia32cap(":~0x20:0"), "~0x4000000000000000:~0x40020:0");
  EXPECT_FALSE(merge_ia32cap("yes").ok());
}

}  // namespace
}  // namespace ftrun::process
