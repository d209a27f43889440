// SPDX-License-Identifier: Apache-2.0
// The edge and TCP urgent data: no byte is lost or shifted, and which one is urgent is known before
// it is told; after a re-offer and a takeover as well. Test program only.
#include <fcntl.h>

#include <random>

#include "supervisor/edge/keeper.h"
#include "tests/unit/edge_fixture.h"

namespace ftrun::edge {
namespace {

using Marks = std::vector<std::pair<uint64_t, char>>;

class EdgeUrgentTest : public EdgeFixture {
 protected:
  static void say_urgent(const Client& peer, const std::string& text) {
    ASSERT_EQ(send(peer.fd(), text.data(), text.size(), MSG_OOB | MSG_NOSIGNAL),
              ssize_t(text.size()));
  }
  // Everything that the client reads, with urgent bytes in brackets.
  std::string hear_with_marks(Client* peer, size_t bytes) {
    std::string text;
    size_t heard = 0;
    const int one = 1;
    setsockopt(peer->fd(), SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
    run_until([&] {
      char byte = 0;
      for (bool more = true; more && heard < bytes; heard += more ? 1 : 0) {
        const bool marked = sockatmark(peer->fd()) == 1;
        more = recv(peer->fd(), &byte, 1, MSG_DONTWAIT) == 1;
        text += !more ? "" : marked ? std::string("[") + byte + "]" : std::string(1, byte);
      }
      return heard == bytes;
    });
    return text;
  }
};

TEST_F(EdgeUrgentTest, StaysInTheStreamAndIsToldBeforeItsByte) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("abc");
  say_urgent(peer, "X");
  peer.say("def");
  run_until([this] { return seen_[1].input.size() == 7; });
  EXPECT_EQ(seen_[1].input, "abcXdef");
  EXPECT_EQ(seen_[1].urgent, (Marks{{3, 'X'}}));
  // Dropping runs over the mark, and does not stop there.
  edge_->release_input(1, 7);
  edge_->drop_released();
  peer.say("ghi");
  run_until([this] { return seen_[1].input.size() == 10; });
  EXPECT_EQ(seen_[1].input, "abcXdefghi");
}

TEST_F(EdgeUrgentTest, FirstAndLastByte) {
  const uint16_t port = listen();
  Client peer(port);
  say_urgent(peer, "X");
  peer.say("abc");
  run_until([this] { return seen_[1].input.size() == 4; });
  EXPECT_EQ(seen_[1].urgent, (Marks{{0, 'X'}}));
  say_urgent(peer, "longer Y");
  run_until([this] { return seen_[1].input.size() == 12; });
  peer.shut();
  run_until([this] { return seen_[1].fins == 1; });
  EXPECT_EQ(seen_[1].input, "Xabclonger Y");
  EXPECT_EQ(seen_[1].urgent, (Marks{{0, 'X'}, {11, 'Y'}}));
}

TEST_F(EdgeUrgentTest, IsToldAgainWithReofferedInput) {
  const uint16_t port = listen();
  Client peer = client(port);
  peer.say("abc");
  say_urgent(peer, "X");
  peer.say("def");
  run_until([this] { return seen_[1].input.size() == 7; });
  edge_->reoffer_input(1, 2);
  seen_[1].input.resize(2);
  run_until([this] { return seen_[1].input.size() == 7; });
  EXPECT_EQ(seen_[1].input, "abcXdef");
  EXPECT_EQ(seen_[1].urgent, (Marks{{3, 'X'}, {3, 'X'}}));
}

// Whatever the edge is doing when an urgent byte comes: no byte is lost or shifted, and none is
// told before its mark (the fixture checks that).
TEST_F(EdgeUrgentTest, ManyAtAnyMoment) {
  const uint16_t port = listen();
  Client peer = client(port);
  std::mt19937 random(1);
  std::string sent;
  Marks urgent;
  for (int i = 0; i < 3000; ++i) {
    const std::string text(1 + random() % (random() % 50 == 0 ? 30000 : 20),
                           static_cast<char>('a' + i % 26));
    if (random() % 3 == 0) {
      say_urgent(peer, text);
      urgent.emplace_back(sent.size() + text.size() - 1, text.back());
    } else {
      peer.say(text);
    }
    sent += text;
    if (random() % 2 == 0) {
      iterate(0);
      edge_->release_input(1, seen_[1].input.size() - random() % (seen_[1].input.size() + 1) / 8);
      edge_->input_limit(1, seen_[1].input.size() + kReceiveWindowBytes);
    }
    // Many small segments fill a receive buffer soon.
    const auto read_up_to = [&](size_t left) {
      edge_->release_input(1, seen_[1].input.size());
      edge_->drop_released();
      return sent.size() - seen_[1].input.size() <= left;
    };
    run_until([&] { return read_up_to(i == 2999 ? 0 : 20000); });
  }
  EXPECT_TRUE(seen_[1].input == sent);
  // A mark may be overtaken by the next one; the last may not.
  ASSERT_FALSE(seen_[1].urgent.empty());
  EXPECT_EQ(seen_[1].urgent.back(), urgent.back());
  for (const auto& mark : seen_[1].urgent) {
    EXPECT_TRUE(std::find(urgent.begin(), urgent.end(), mark) != urgent.end());
  }
}

TEST_F(EdgeUrgentTest, UrgentOutputIsUrgentAlsoWhenItHasToWait) {
  const uint16_t port = listen();
  Client peer = client(port);
  edge_->urgent(1, 3);
  say(1, "abcXdef");
  EXPECT_EQ(hear_with_marks(&peer, 7), "abc[X]def");
  const std::string much(kSendWindowBytes, 'm');
  const uint64_t start = offered_[1];
  while (edge_->flushed()) {
    say(1, much);
  }
  const size_t before = offered_[1] - start;
  edge_->urgent(1, offered_[1] + 3);
  say(1, "nopY");
  say(1, "qrs");
  const size_t heard = hear(&peer, before - 512 * 1024).size();  // in pieces of 256 KiB
  ASSERT_LE(heard, before);
  const std::string rest = hear_with_marks(&peer, before + 7 - heard);
  EXPECT_EQ(rest.substr(before - heard), "nop[Y]qrs");
}

}  // namespace
}  // namespace ftrun::edge
