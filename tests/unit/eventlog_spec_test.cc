// SPDX-License-Identifier: Apache-2.0
// Decodes the worked example of docs/log_format.md, read from the document itself, so that the two
// cannot drift apart. Runs in the test process only.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/unit/eventlog_samples.h"

namespace ftrun {
namespace {

// An example in the document is a fenced block with this name; each of its lines holds the hex
// bytes of one record, item or entry, then `#` and what it means.
struct ExampleLine {
  samples::Encoded bytes;
  std::string meaning;
};

std::vector<ExampleLine> example(const std::string& name) {
  std::ifstream file(FTRUN_LOG_FORMAT_DOC);
  EXPECT_TRUE(file.is_open());
  std::vector<ExampleLine> lines;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("```")) {
      inside = line == "```" + name;
      continue;
    }
    if (!inside) {
      continue;
    }
    ExampleLine parsed;
    const size_t hash = line.find('#');
    std::istringstream hex(line.substr(0, hash));
    for (std::string byte; hex >> byte;) {
      parsed.bytes.push_back(static_cast<uint8_t>(std::stoul(byte, nullptr, 16)));
    }
    parsed.meaning =
        hash == std::string::npos ? "" : line.substr(line.find_first_not_of(' ', hash + 1));
    lines.push_back(parsed);
  }
  EXPECT_FALSE(lines.empty()) << "no example called " << name;
  return lines;
}

template <typename Item>
std::vector<Item> decode_all(const std::vector<ExampleLine>& lines) {
  std::vector<Item> items;
  for (const ExampleLine& line : lines) {
    const uint8_t* begin = line.bytes.data();
    Item item;
    EXPECT_EQ(samples::decode(begin, begin + line.bytes.size(), &item), begin + line.bytes.size())
        << line.meaning;
    EXPECT_EQ(samples::encode(item), line.bytes) << line.meaning;
    items.push_back(item);
  }
  return items;
}

TEST(LogFormatDocument, TheLogExample) {
  static const std::vector<ExampleLine> lines = example("log-example");
  const std::vector<Record> records = decode_all<Record>(lines);
  ASSERT_EQ(records.size(), 8u);
  EXPECT_EQ(records[0].kind, RecordKind::kStart);
  EXPECT_EQ(records[0].count, kLogVersion);
  EXPECT_EQ(records[0].now_delta_ns, 5'000'000'000u);
  EXPECT_EQ(records[0].result, 1'700'000'000'000'000'000);
  EXPECT_EQ(records[1].kind, RecordKind::kChoice);
  EXPECT_EQ(records[1].delta, 3u);
  EXPECT_EQ(records[1].number, 318u);  // getrandom
  EXPECT_EQ(records[1].result, 4);
  EXPECT_EQ(records[2].kind, RecordKind::kTurnEndIngest);
  EXPECT_EQ(records[2].delta, 20u);
  EXPECT_EQ(records[3].kind, RecordKind::kArrivals);
  EXPECT_EQ(records[3].now_delta_ns, 52'000u);
  ASSERT_EQ(records[3].count, 2u);
  Arrival open;
  Arrival data;
  const uint8_t* end = records[3].payload + records[3].length;
  const uint8_t* next = get_arrival(records[3].payload, end, &open);
  ASSERT_NE(next, nullptr);
  ASSERT_EQ(get_arrival(next, end, &data), end);
  EXPECT_EQ(open.kind, ArrivalKind::kOpen);
  EXPECT_EQ(open.id, 7u);
  EXPECT_EQ(data.kind, ArrivalKind::kData);
  EXPECT_EQ(std::string(data.data, data.data + data.length), "PING\r\n");
  EXPECT_EQ(records[4].kind, RecordKind::kTime);
  EXPECT_EQ(records[5].kind, RecordKind::kSwitch);
  EXPECT_EQ(records[5].count, 1u);
  EXPECT_EQ(records[6].kind, RecordKind::kTurnEndIdle);
  EXPECT_EQ(records[7].kind, RecordKind::kExit);
}

TEST(LogFormatDocument, TheOutputExample) {
  static const std::vector<ExampleLine> lines = example("output-example");
  const std::vector<Output> entries = decode_all<Output>(lines);
  ASSERT_EQ(entries.size(), 5u);
  EXPECT_EQ(entries[0].kind, OutputKind::kListen);
  EXPECT_EQ(entries[0].value, 511u);
  EXPECT_EQ(entries[1].kind, OutputKind::kWrite);
  EXPECT_EQ(std::string(entries[1].data, entries[1].data + entries[1].length), "+PONG\r\n");
  EXPECT_EQ(entries[2].kind, OutputKind::kConsumed);
  EXPECT_EQ(entries[3].kind, OutputKind::kClose);
  EXPECT_EQ(entries[4].kind, OutputKind::kMark);
  EXPECT_EQ(entries[4].value2, 7u);
}

}  // namespace
}  // namespace ftrun
