// SPDX-License-Identifier: Apache-2.0
// Encoding of frames and hellos: see frame.h. Runs in the supervisor; no system calls.
#include "supervisor/link/frame.h"

#include <bit>
#include <cstring>

#include "eventlog/varint.h"

namespace ftrun::link {

static_assert(std::endian::native == std::endian::little, "the wire is little endian");

namespace {

bool known_kind(uint8_t kind) {
  return kind >= static_cast<uint8_t>(unit::FrameKind::kHello) && kind <= unit::kFrameKindMax;
}

template <typename T>
T load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <typename T>
void store(uint8_t* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}

void append_varint(std::string* out, uint64_t value) {
  uint8_t buffer[kVarintBytesMax];
  out->append(reinterpret_cast<const char*>(buffer), put_varint(buffer, value));
}

void append_process(std::string* out, const ProcessName& process) {
  append_varint(out, static_cast<uint32_t>(process.pid));
  append_varint(out, process.start_time);
}

const uint8_t* read_process(const uint8_t* cursor, const uint8_t* end, ProcessName* process) {
  uint64_t pid = 0;
  cursor = cursor == nullptr ? nullptr : get_varint(cursor, end, &pid);
  if (cursor == nullptr || pid > INT32_MAX) {
    return nullptr;
  }
  process->pid = static_cast<int32_t>(pid);
  return get_varint(cursor, end, &process->start_time);
}

const uint8_t* read_descriptor(const uint8_t* cursor, const uint8_t* end, uint32_t* descriptor) {
  uint64_t value = 0;
  cursor = cursor == nullptr ? nullptr : get_varint(cursor, end, &value);
  if (cursor == nullptr || value > INT32_MAX) {
    return nullptr;
  }
  *descriptor = static_cast<uint32_t>(value);
  return cursor;
}

}  // namespace

void put_frame_header(uint8_t (&out)[kFrameHeaderBytes], const unit::Frame& frame) {
  FTRUN_ASSERT(frame.bytes.size() <= kFramePayloadBytesMax);
  FTRUN_ASSERT(known_kind(static_cast<uint8_t>(frame.kind)));
  store<uint16_t>(out, kFrameMagic);
  out[2] = kFrameVersion;
  out[3] = static_cast<uint8_t>(frame.kind);
  store<uint32_t>(out + 4, static_cast<uint32_t>(frame.bytes.size()));
  store<uint64_t>(out + 8, frame.epoch);
  store<uint64_t>(out + 16, frame.number);
  store<uint64_t>(out + 24, frame.lsn);
  store<uint64_t>(out + 32, frame.digest);
  store<uint64_t>(out + 40, frame.created);
  store<uint64_t>(out + 48, frame.trim);
}

FrameResult get_frame(unit::Bytes input, unit::Frame* frame) {
  const uint8_t* data = input.data();
  if (input.size() < kFrameHeaderBytes) {
    return {FrameState::kIncomplete, 0, ""};
  }
  if (load<uint16_t>(data) != kFrameMagic) {
    return {FrameState::kInvalid, 0, "bad magic: the peer does not speak this protocol"};
  }
  if (data[2] != kFrameVersion) {
    return {FrameState::kInvalid, 0, "the peer speaks another version of the protocol"};
  }
  if (!known_kind(data[3])) {
    return {FrameState::kInvalid, 0, "unknown frame kind"};
  }
  const uint32_t length = load<uint32_t>(data + 4);
  if (length > kFramePayloadBytesMax) {
    return {FrameState::kInvalid, 0, "payload longer than the limit"};
  }
  if (input.size() < kFrameHeaderBytes + length) {
    return {FrameState::kIncomplete, kFrameHeaderBytes + length, ""};
  }
  frame->kind = static_cast<unit::FrameKind>(data[3]);
  frame->epoch = load<uint64_t>(data + 8);
  frame->number = load<uint64_t>(data + 16);
  frame->lsn = load<uint64_t>(data + 24);
  frame->digest = load<uint64_t>(data + 32);
  frame->created = load<uint64_t>(data + 40);
  frame->trim = load<uint64_t>(data + 48);
  frame->bytes = input.subspan(kFrameHeaderBytes, length);
  return {FrameState::kWhole, kFrameHeaderBytes + length, ""};
}

std::string encode_hello(const Hello& hello) {
  FTRUN_ASSERT(hello.unit.size() <= kUnitNameBytesMax);
  std::string out;
  out.push_back(static_cast<char>(hello.replica));
  append_varint(&out, hello.unit.size());
  out += hello.unit;
  append_process(&out, hello.supervisor);
  append_process(&out, hello.keeper);
  append_process(&out, hello.init);
  append_varint(&out, hello.region_fd);
  append_varint(&out, hello.doorbell_fd);
  return out;
}

Result<Hello> decode_hello(unit::Bytes payload) {
  Hello hello;
  const uint8_t* cursor = payload.data();
  const uint8_t* end = cursor + payload.size();
  if (cursor == end) {
    return Error{"hello: empty"};
  }
  hello.replica = *cursor++;
  uint64_t length = 0;
  cursor = get_varint(cursor, end, &length);
  if (cursor == nullptr || length > kUnitNameBytesMax ||
      length > static_cast<size_t>(end - cursor)) {
    return Error{"hello: the unit's name is cut short or too long"};
  }
  hello.unit.assign(reinterpret_cast<const char*>(cursor), length);
  cursor += length;
  cursor = read_process(cursor, end, &hello.supervisor);
  cursor = read_process(cursor, end, &hello.keeper);
  cursor = read_process(cursor, end, &hello.init);
  cursor = read_descriptor(cursor, end, &hello.region_fd);
  cursor = read_descriptor(cursor, end, &hello.doorbell_fd);
  if (cursor != end) {
    return Error{
        "hello: the names of processes and descriptors do not decode or something follows"};
  }
  return hello;
}

}  // namespace ftrun::link
