// SPDX-License-Identifier: Apache-2.0
// A running hash over everything that goes into a core and comes out of it: two runs of a seed that
// differ in a single byte or in an order end with different ones. Test program only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <vector>

#include "eventlog/arrivals.h"
#include "eventlog/output.h"
#include "supervisor/unit/core.h"

namespace ftrun::sim {

class Fingerprint {
 public:
  uint64_t value() const { return hash_; }

  template <typename... Fields>
  void add_all(const Fields&... fields) {
    (add(fields), ...);
  }
  template <typename Number>
  requires std::is_integral_v<Number> || std::is_enum_v<Number>
  void add(Number number) {
    hash_ = (hash_ ^ static_cast<uint64_t>(number)) * 0x9e3779b97f4a7c15u;
    hash_ ^= hash_ >> 29;
  }
  void add(unit::Bytes bytes) {
    add(bytes.size());
    for (size_t done = 0; done < bytes.size(); done += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, bytes.data() + done, std::min(sizeof word, bytes.size() - done));
      add(word);
    }
  }
  void add(std::string_view text) {
    add(unit::Bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  }
  void add(const Address& address) { add(unit::Bytes(address.bytes, address.length)); }
  void add(const unit::View& view) { add_all(view.epoch, view.replicas, view.sender); }
  void add(const unit::Frame& frame) {
    add_all(frame.kind, frame.epoch, frame.number, frame.lsn, frame.digest, frame.created,
            frame.trim, frame.bytes);
  }
  void add(const Output& entry) {
    add_all(entry.kind, entry.id, entry.value, entry.value2);
    add_all(unit::Bytes(entry.data, entry.length), entry.address);
  }
  void add(const unit::AdoptedConnection& adopted) {
    add_all(adopted.id, adopted.handle, adopted.input_dropped, adopted.output_written,
            adopted.output_shut, adopted.listener, adopted.local, adopted.peer);
  }
  void add(const unit::AdoptedListener& adopted) {
    add_all(adopted.socket, adopted.address, adopted.listening, adopted.ask_again);
  }
  void add(const unit::Unwritten& unwritten) {
    add_all(unwritten.id, unwritten.written, unwritten.output);
  }
  template <typename Item>
  void add(const std::vector<Item>& items) {
    add(items.size());
    for (const Item& item : items) {
      add(item);
    }
  }

 private:
  uint64_t hash_ = 0;
};

}  // namespace ftrun::sim
