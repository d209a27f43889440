// SPDX-License-Identifier: Apache-2.0
// The table of system calls against the kernel's headers: every number that this machine's
// asm/unistd_64.h defines is in exactly one class; numbers that nobody knows are denied. Runs in
// the test process; the shim's handlers are not linked.
#include <errno.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace ftrun::shim {
// Weak before the table refers to them: their addresses are null here, and nobody calls them.
#define FTRUN_SYSCALL(name, call_class, handler) \
  __attribute__((weak)) long handler(long number, const long* a);
#include "preload/table.def"
#undef FTRUN_SYSCALL
}  // namespace ftrun::shim

#include "preload/table.cc"
#include "supervisor/process/call_wall.h"

namespace ftrun::shim {
namespace {

struct Row {
  long number;
  std::string name;
  std::string call_class;
  std::string handler;
};

std::vector<Row> rows() {
  return {
#define FTRUN_SYSCALL(name, call_class, handler) {__NR_##name, #name, #call_class, #handler},
#include "preload/table.def"
#undef FTRUN_SYSCALL
  };
}

// The filter of supervisor/process/call_wall.h must not stand in the shim's way.
TEST(Table, WhatTheSecondWallRefusesTheShimNeverAsksFor) {
  std::map<long, Row> by_number;
  for (const Row& row : rows()) {
    by_number[row.number] = row;
  }
  for (const int number : process::kWalledCalls) {
    EXPECT_EQ(by_number.at(number).call_class, "Denied") << by_number.at(number).name;
  }
}

// name -> number, from the text of the installed header.
std::map<std::string, long> header_calls() {
  std::ifstream file(FTRUN_UNISTD_64);
  EXPECT_TRUE(file.is_open()) << FTRUN_UNISTD_64;
  std::map<std::string, long> calls;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string define;
    std::string name;
    long number = 0;
    if (words >> define >> name >> number && define == "#define" && name.starts_with("__NR_")) {
      calls[name.substr(5)] = number;
    }
  }
  return calls;
}

std::map<std::string, int> class_counts() {
  std::map<std::string, int> counts;
  for (const Row& row : rows()) {
    counts[row.call_class]++;
  }
  return counts;
}

TEST(Table, EveryNumberOfTheKernelsHeadersIsInExactlyOneClass) {
  std::map<long, std::vector<std::string>> classes;
  for (const Row& row : rows()) {
    classes[row.number].push_back(row.name + " " + row.call_class);
  }
  const auto calls = header_calls();
  EXPECT_GT(calls.size(), 350U);
  for (const auto& [name, number] : calls) {
    EXPECT_EQ(classes[number].size(), 1U) << name << " (" << number << ")";
    EXPECT_STREQ(call_entry(number).name, name.c_str());
  }
}

TEST(Table, NumbersAreUniqueAndInOrder) {
  long last = -1;
  for (const Row& row : rows()) {
    EXPECT_GT(row.number, last) << row.name;
    last = row.number;
  }
}

TEST(Table, ClassesAndHandlersAgree) {
  for (const Row& row : rows()) {
    EXPECT_EQ(row.call_class == "Denied", row.handler == "do_denied") << row.name;
    if (row.handler == "do_native") {
      EXPECT_EQ(row.call_class, "Native") << row.name;
    }
  }
}

TEST(Table, DeniedCallsHaveAnErrorAndAReason) {
  const std::set<int> errors = {ENOSYS, EPERM, EINTR};
  for (const Row& row : rows()) {
    const CallEntry& entry = call_entry(row.number);
    const bool is_denied = entry.call_class == CallClass::kDenied;
    EXPECT_EQ(errors.contains(entry.error), is_denied) << row.name;
    EXPECT_EQ(std::string(entry.why).size() > 10, is_denied) << row.name;
  }
}

TEST(Table, UnknownNumbersAreDenied) {
  std::set<long> known;
  for (const Row& row : rows()) {
    known.insert(row.number);
  }
  for (long number = -1; number <= kCallNumberMax + 1; ++number) {
    if (!known.contains(number)) {
      EXPECT_EQ(call_entry(number).call_class, CallClass::kDenied) << number;
      EXPECT_EQ(call_entry(number).error, ENOSYS) << number;
      EXPECT_FALSE(call_entry(number).is_known()) << number;
    }
  }
  for (const long number : {0x40000000L, 0x7fffffffffffffffL, -0x7fffffffffffffffL}) {
    EXPECT_EQ(call_entry(number).error, ENOSYS) << number;
  }
}

TEST(Table, CountsAreThoseOfTheDocument) {
  std::ifstream file(FTRUN_NONDETERMINISM_DOC);
  std::map<std::string, int> documented;
  for (std::string line; std::getline(file, line);) {
    // "| Virtual | 85 | ... |"
    std::istringstream words(line);
    std::string bar;
    std::string name;
    int count = 0;
    if (words >> bar >> name >> bar >> count && bar == "|" && count > 0) {
      documented[name] = count;
    }
  }
  for (const auto& [name, count] : class_counts()) {
    std::cout << name << " " << count << "\n";
  }
  EXPECT_EQ(documented, class_counts()) << "docs/nondeterminism.md lists other counts";
}

}  // namespace
}  // namespace ftrun::shim
