// SPDX-License-Identifier: Apache-2.0
// A simulated client: connects, pipelines requests cut at arbitrary bytes, and checks every byte of
// every reply: exactly once, in order, and no counter value that anyone has seen before.
// Test program only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/simulation/kernel.h"
#include "tests/simulation/toy_protocol.h"

namespace ftrun::sim {

class World;

enum class Farewell : uint8_t {
  kClose,      // closes after the last reply
  kHalfClose,  // sends FIN right behind the last request
  kQuit,       // asks the server to close
  kQuitEarly,  // does so, and sends more behind it
  kReset,      // resets at some moment
  kStay,       // stays connected until the server closes
};

class Client {
 public:
  // A poisoner crashes the server with one of its requests; reset, it comes again and behaves.
  Client(World* world, int number, bool poisoner);
  void step();
  // All it wanted has happened; a staying client stays for the server's FIN.
  bool served() const { return served_; }
  bool done() const { return done_; }
  bool aborts() const { return farewell_ == Farewell::kReset || poisoner_; }
  bool stays() const { return farewell_ == Farewell::kStay && served_ && !done_; }
  bool lost() const { return socket_ != nullptr && socket_->lost; }
  uint32_t requests() const { return total_; }
  uint32_t replies() const { return replies_; }
  std::string describe() const;

 private:
  void make_request();
  void send_some();
  void read_some();
  void check_replies();
  bool check_reply(const uint8_t* reply, size_t available, size_t* length);
  void say_farewell();
  void come_again();
  bool may_make_request() const;
  bool sent_behind_quit() const;

  World* const world_;
  const int number_;
  Farewell farewell_;
  bool bulk_;
  const bool poisoner_;
  uint32_t poison_ = 0;    // number of the request that is the poison; 0: none (any more)
  uint32_t total_;         // requests it will make
  uint32_t pipeline_;      // most requests without a reply
  uint32_t quit_ = 0;      // number of the request that asks the server to close; 0: none
  uint64_t quit_end_ = 0;  // position behind it, once it was made
  uint64_t made_bytes_ = 0;
  uint64_t send_buffer_;
  KernelConnection* socket_ = nullptr;
  uint32_t made_ = 0;
  uint32_t replies_ = 0;
  std::vector<uint8_t> unsent_;
  std::vector<uint8_t> unparsed_;
  uint64_t last_counter_ = 0;
  bool served_ = false;
  bool done_ = false;
};

}  // namespace ftrun::sim
