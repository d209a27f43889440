// SPDX-License-Identifier: Apache-2.0
// Frames, hellos and links: what is sent arrives, what is malformed is refused at every byte.
#include "supervisor/link/link.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>

namespace ftrun::link {
namespace {

using unit::Bytes;
using unit::Frame;
using unit::FrameKind;

std::vector<uint8_t> encode(const Frame& frame) {
  uint8_t header[kFrameHeaderBytes];
  put_frame_header(header, frame);
  std::vector<uint8_t> bytes(header, header + kFrameHeaderBytes);
  for (const uint8_t byte : frame.bytes) {
    bytes.push_back(byte);
  }
  return bytes;
}

Frame sample(Bytes payload) {
  Frame frame;
  frame.kind = FrameKind::kTurns;
  frame.epoch = 3;
  frame.number = 0x1122334455667788;
  frame.lsn = 77;
  frame.digest = ~uint64_t{0};
  frame.bytes = payload;
  return frame;
}

TEST(Frame, RoundTripAndEveryTruncation) {
  const std::vector<uint8_t> payload = {1, 2, 3, 4, 5};
  const std::vector<uint8_t> bytes = encode(sample(payload));
  Frame out;
  const FrameResult whole = get_frame(bytes, &out);
  ASSERT_EQ(whole.state, FrameState::kWhole);
  EXPECT_EQ(whole.bytes, bytes.size());
  EXPECT_EQ(out.kind, FrameKind::kTurns);
  EXPECT_EQ(out.epoch, 3u);
  EXPECT_EQ(out.number, 0x1122334455667788u);
  EXPECT_EQ(out.lsn, 77u);
  EXPECT_EQ(out.digest, ~uint64_t{0});
  EXPECT_EQ(std::vector<uint8_t>(out.bytes.begin(), out.bytes.end()), payload);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(get_frame(Bytes(bytes).first(length), &out).state, FrameState::kIncomplete);
  }
}

TEST(Frame, RefusesWhatItDoesNotKnow) {
  const std::vector<uint8_t> good = encode(sample({}));
  const struct {
    size_t at;
    uint8_t value;
  } damages[] = {{0, 0}, {1, 0}, {2, kFrameVersion + 1}, {3, 0}, {3, 200}, {7, 0xff}};
  for (const auto& damage : damages) {
    std::vector<uint8_t> bad = good;
    bad[damage.at] = damage.value;
    Frame out;
    const FrameResult result = get_frame(bad, &out);
    EXPECT_EQ(result.state, FrameState::kInvalid) << "byte " << damage.at;
    EXPECT_STRNE(result.why, "");
  }
}

TEST(Frame, RandomBytesNeverCrash) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<uint8_t> bytes(random() % 200);
    for (uint8_t& byte : bytes) {
      byte = static_cast<uint8_t>(random());
    }
    Frame out;
    get_frame(bytes, &out);
    [[maybe_unused]] const bool ok = decode_hello(bytes).ok();
  }
}

TEST(Hello, RoundTripAndEveryTruncation) {
  Hello hello;
  hello.replica = 1;
  hello.unit = "redis";
  hello.supervisor = {100, 5000};
  hello.keeper = {101, 5001};
  hello.init = {102, 70000000000};
  const std::string text = encode_hello(hello);
  const Bytes bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  const Result<Hello> out = decode_hello(bytes);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(out->unit, "redis");
  EXPECT_EQ(out->replica, 1);
  EXPECT_EQ(out->keeper.pid, 101);
  EXPECT_EQ(out->init.start_time, 70000000000u);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode_hello(bytes.first(length)).ok()) << length;
  }
}

class LinkPair : public ::testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    auto left = Link::adopt(fds[0]);
    auto right = Link::adopt(fds[1]);
    ASSERT_TRUE(left.ok() && right.ok());
    left_ = std::move(*left);
    right_ = std::move(*right);
  }
  Link left_, right_;
};

TEST_F(LinkPair, FramesOfAllSizesArriveInOrder) {
  constexpr int kFrames = 60;
  std::mt19937 random(2);
  std::vector<std::vector<uint8_t>> payloads;
  for (int i = 0; i < kFrames; ++i) {
    const size_t size = i % 7 == 0 ? 200'000 + random() % 1'000'000 : random() % 3000;
    payloads.emplace_back(size, static_cast<uint8_t>(i));
  }
  size_t sent = 0;
  size_t received = 0;
  while (received < payloads.size()) {
    if (sent < payloads.size()) {
      Frame frame = sample(payloads[sent]);
      frame.number = sent++;
      ASSERT_TRUE(left_.send(frame).ok());
    }
    ASSERT_TRUE(left_.flush().ok());
    const Result<void> got = right_.receive([&](const Frame& frame) {
      EXPECT_EQ(frame.number, received);
      EXPECT_TRUE(std::equal(frame.bytes.begin(), frame.bytes.end(), payloads[received].begin(),
                             payloads[received].end()));
      ++received;
      return true;
    });
    ASSERT_TRUE(got.ok());
  }
}

TEST_F(LinkPair, SinkThatStopsFindsTheRestLater) {
  for (uint64_t i = 0; i < 3; ++i) {
    Frame frame = sample({});
    frame.number = i;
    ASSERT_TRUE(left_.send(frame).ok());
  }
  ASSERT_TRUE(left_.flush().ok());
  std::vector<uint64_t> numbers;
  const Link::Sink one = [&](const Frame& frame) {
    if (!numbers.empty() && numbers.back() == frame.number) {
      return true;  // taken when it is offered for the second time
    }
    numbers.push_back(frame.number);
    return false;
  };
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(right_.receive(one).ok());
  }
  EXPECT_EQ(numbers, (std::vector<uint64_t>{0, 1, 2}));
}

TEST_F(LinkPair, ClosedAndNonsenseAreErrors) {
  const uint8_t nonsense[kFrameHeaderBytes] = {1, 2, 3};
  ASSERT_EQ(write(left_.fd(), nonsense, sizeof(nonsense)), ssize_t(sizeof(nonsense)));
  const Link::Sink sink = [](const Frame&) { return true; };
  EXPECT_FALSE(right_.receive(sink).ok());
  right_.close();
  EXPECT_FALSE(left_.receive(sink).ok());
}

}  // namespace
}  // namespace ftrun::link
