// SPDX-License-Identifier: Apache-2.0
// Sample items of every kind, their encodings, and comparisons, for the tests of eventlog. Runs in
// the test process only.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "eventlog/arrivals.h"
#include "eventlog/output.h"
#include "eventlog/records.h"

namespace ftrun::samples {

using Encoded = std::vector<uint8_t>;

Address ipv4(uint16_t port);
Address ipv6(uint16_t port);
// The bytes of a text as data of an item; borrowed from the text.
const uint8_t* bytes(std::string_view text);

Encoded encode(const Arrival& item);
Encoded encode(const Output& entry);
Encoded encode(const Record& record);

std::vector<Arrival> arrivals();
std::vector<Output> outputs();
std::vector<Record> records();

// Compare everything that the format carries.
bool same(const Arrival& a, const Arrival& b);
bool same(const Output& a, const Output& b);
bool same(const Record& a, const Record& b);

// One name for the three decoders.
inline const uint8_t* decode(const uint8_t* cursor, const uint8_t* end, Arrival* item) {
  return get_arrival(cursor, end, item);
}
inline const uint8_t* decode(const uint8_t* cursor, const uint8_t* end, Output* entry) {
  return get_output(cursor, end, entry);
}
inline const uint8_t* decode(const uint8_t* cursor, const uint8_t* end, Record* record) {
  return get_record(cursor, end, record);
}

// A copy in memory of exactly its size, so that a sanitizer sees any read beyond the end.
class ExactCopy {
 public:
  ExactCopy(const uint8_t* data, size_t length)
      : data_(new uint8_t[length == 0 ? 1 : length]), length_(length) {
    for (size_t i = 0; i < length; ++i) {
      data_[i] = data[i];
    }
  }
  ~ExactCopy() { delete[] data_; }
  ExactCopy(const ExactCopy&) = delete;
  ExactCopy& operator=(const ExactCopy&) = delete;
  const uint8_t* begin() const { return data_; }
  const uint8_t* end() const { return data_ + length_; }

 private:
  uint8_t* data_;
  size_t length_;
};

}  // namespace ftrun::samples
