// SPDX-License-Identifier: Apache-2.0
// Arrivals collected on their way to the primary's application, encoded. Runs in the unit core;
// pure. Its owner hands it on before it grows beyond kArrivalBatchBytes and one event's data.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eventlog/arrivals.h"

namespace ftrun::unit {

// Calls visit(item) for each arrival in `bytes`, while it returns true. False: one does not decode.
template <typename Visit>
bool for_each_arrival(std::span<const uint8_t> bytes, Visit&& visit) {
  const uint8_t* const end = bytes.data() + bytes.size();
  bool goes_on = true;
  for (const uint8_t* cursor = bytes.data(); goes_on && cursor != end;) {
    Arrival item;
    cursor = get_arrival(cursor, end, &item);
    if (cursor == nullptr) {
      return false;
    }
    goes_on = visit(item);
  }
  return true;
}

class ArrivalBatch {
 public:
  void put(const Arrival& item) {
    uint8_t header[kArrivalHeaderBytesMax];
    const size_t length = put_arrival_header(header, item);
    bytes_.insert(bytes_.end(), header, header + length);
    if (item.length != 0) {
      bytes_.insert(bytes_.end(), item.data, item.data + item.length);
    }
  }
  void put(ArrivalKind kind, uint32_t id, uint64_t value = 0) {
    Arrival item;
    item.kind = kind;
    item.id = id;
    item.value = value;
    put(item);
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }
  void clear() { bytes_.clear(); }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace ftrun::unit
