// SPDX-License-Identifier: Apache-2.0
// Sample items of every kind. Runs in the test process only.
#include "tests/unit/eventlog_samples.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>
#include <string>

namespace ftrun::samples {
namespace {

template <typename SocketAddress>
Address to_address(const SocketAddress& from) {
  Address address;
  static_assert(sizeof from <= kAddressBytesMax);
  address.length = sizeof from;
  memcpy(address.bytes, &from, sizeof from);
  return address;
}

bool same(const Address& a, const Address& b) {
  return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

bool same_bytes(const uint8_t* a, size_t a_length, const uint8_t* b, size_t b_length) {
  return a_length == b_length && (a_length == 0 || memcmp(a, b, a_length) == 0);
}

Encoded with_payload(const uint8_t* header, size_t header_length, const uint8_t* payload,
                     size_t payload_length) {
  Encoded out(header, header + header_length);
  if (payload_length != 0) {
    out.insert(out.end(), payload, payload + payload_length);
  }
  return out;
}

}  // namespace

Address ipv4(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return to_address(address);
}

Address ipv6(uint16_t port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  address.sin6_addr = in6addr_loopback;
  return to_address(address);
}

const uint8_t* bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

Encoded encode(const Arrival& item) {
  uint8_t header[kArrivalHeaderBytesMax];
  const size_t length = put_arrival_header(header, item);
  return with_payload(header, length, item.data, item.length);
}
Encoded encode(const Output& entry) {
  uint8_t header[kOutputHeaderBytesMax];
  const size_t length = put_output_header(header, entry);
  return with_payload(header, length, entry.data, entry.length);
}
Encoded encode(const Record& record) {
  uint8_t header[kRecordHeaderBytesMax];
  const size_t length = put_record_header(header, record);
  return with_payload(header, length, record.payload, record.length);
}

std::vector<Arrival> arrivals() {
  static const std::string long_data(kArrivalDataBytesMax, 'd');
  std::vector<Arrival> all;
  all.push_back({.kind = ArrivalKind::kOpen,
                 .id = 7,
                 .listener = 2,
                 .local = ipv4(7000),
                 .peer = ipv4(51000)});
  all.push_back({.kind = ArrivalKind::kOpen,
                 .id = UINT32_MAX,
                 .listener = UINT32_MAX,
                 .local = ipv6(7000),
                 .peer = ipv6(51000)});
  all.push_back({.kind = ArrivalKind::kData, .id = 7, .data = bytes("PING\r\n"), .length = 6});
  all.push_back({.kind = ArrivalKind::kData,
                 .id = 300,
                 .data = bytes(long_data),
                 .length = long_data.size()});
  all.push_back({.kind = ArrivalKind::kFin, .id = 7});
  all.push_back({.kind = ArrivalKind::kReset, .id = 7, .value = 104});
  all.push_back({.kind = ArrivalKind::kCredit, .id = 7, .value = uint64_t{1} << 40});
  all.push_back({.kind = ArrivalKind::kCredit, .id = 1, .value = UINT64_MAX});
  all.push_back({.kind = ArrivalKind::kSignal, .id = 3, .value = 15});
  all.push_back({.kind = ArrivalKind::kBound, .id = 2, .value = 0, .local = ipv4(7000)});
  all.push_back({.kind = ArrivalKind::kBound, .id = 2, .value = 98});
  all.push_back({.kind = ArrivalKind::kUrgent, .id = 7, .value = 1000, .urgent_byte = 0xf2});
  return all;
}

std::vector<Output> outputs() {
  static const std::string long_data(kOutputDataBytesMax, 'w');
  const auto on = bytes(std::string_view("\1\0\0\0", 4));
  std::vector<Output> all;
  all.push_back({.kind = OutputKind::kMark, .value = 123'456'789, .value2 = 4'000'000'000});
  all.push_back({.kind = OutputKind::kWrite, .id = 7, .data = bytes("+PONG\r\n"), .length = 7});
  all.push_back({.kind = OutputKind::kWrite,
                 .id = UINT32_MAX,
                 .data = bytes(long_data),
                 .length = long_data.size()});
  all.push_back({.kind = OutputKind::kShutdown, .id = 7});
  all.push_back({.kind = OutputKind::kClose, .id = 7, .value = 6});
  all.push_back({.kind = OutputKind::kConsumed, .id = 7, .value = UINT64_MAX});
  all.push_back({.kind = OutputKind::kBind,
                 .id = 2,
                 .value = kBindReuseAddress | kBindV6Only,
                 .address = ipv6(7000)});
  all.push_back({.kind = OutputKind::kListen, .id = 2, .value = 511});
  all.push_back({.kind = OutputKind::kUnlisten, .id = 2});
  all.push_back(
      {.kind = OutputKind::kOption, .id = 7, .value = 6, .value2 = 1, .data = on, .length = 4});
  all.push_back({.kind = OutputKind::kConsole, .id = 1, .data = bytes("Ready\n"), .length = 6});
  all.push_back({.kind = OutputKind::kExit, .value = 128 + 15});
  all.push_back({.kind = OutputKind::kNotice, .data = bytes("refused"), .length = 7});
  all.push_back({.kind = OutputKind::kUrgent, .id = 7, .data = bytes("!"), .length = 1});
  all.push_back({.kind = OutputKind::kAccepted, .id = 7});
  return all;
}

std::vector<Record> records() {
  static const std::string long_payload(kChoicePayloadBytesMax, 'p');
  static const Encoded items = encode(arrivals()[2]);
  std::vector<Record> all;
  all.push_back({.kind = RecordKind::kStart,
                 .now_delta_ns = 12'345'678'901,
                 .count = kLogVersion,
                 .number = 1,
                 .result = -5});
  for (const RecordKind kind :
       {RecordKind::kTurnEndIngest, RecordKind::kTurnEndIdle, RecordKind::kTurnEndCut}) {
    all.push_back({.kind = kind, .delta = 4});
  }
  all.push_back({.kind = RecordKind::kArrivals,
                 .delta = 1,
                 .now_delta_ns = 52'000,
                 .count = 1,
                 .payload = items.data(),
                 .length = items.size()});
  all.push_back({.kind = RecordKind::kTime, .delta = 14, .now_delta_ns = 0});
  all.push_back({.kind = RecordKind::kTime, .delta = 15, .now_delta_ns = 1});
  all.push_back({.kind = RecordKind::kTime, .delta = UINT64_MAX, .now_delta_ns = UINT64_MAX});
  all.push_back({.kind = RecordKind::kChoice,
                 .delta = 2,
                 .number = 318,
                 .result = 16,
                 .payload = bytes("0123456789abcdef"),
                 .length = 16});
  all.push_back({.kind = RecordKind::kChoice,
                 .number = 1024,
                 .result = INT64_MIN,
                 .payload = bytes(long_payload),
                 .length = long_payload.size()});
  all.push_back({.kind = RecordKind::kChoice, .delta = 3, .number = 2, .result = -2});
  all.push_back({.kind = RecordKind::kSwitch, .delta = 200, .count = 3});
  all.push_back({.kind = RecordKind::kExit, .delta = 1, .count = 0});
  return all;
}

bool same(const Arrival& a, const Arrival& b) {
  return a.kind == b.kind && a.id == b.id && a.listener == b.listener &&
         (a.kind == ArrivalKind::kOpen || a.kind == ArrivalKind::kData || a.value == b.value) &&
         a.urgent_byte == b.urgent_byte && same_bytes(a.data, a.length, b.data, b.length) &&
         same(a.local, b.local) && same(a.peer, b.peer);
}
bool same(const Output& a, const Output& b) {
  return a.kind == b.kind && a.id == b.id && a.value == b.value && a.value2 == b.value2 &&
         same_bytes(a.data, a.length, b.data, b.length) && same(a.address, b.address);
}
bool same(const Record& a, const Record& b) {
  return a.kind == b.kind && a.delta == b.delta && a.now_delta_ns == b.now_delta_ns &&
         a.count == b.count && a.number == b.number && a.result == b.result &&
         same_bytes(a.payload, a.length, b.payload, b.length);
}

}  // namespace ftrun::samples
