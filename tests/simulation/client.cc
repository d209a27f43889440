// SPDX-License-Identifier: Apache-2.0
// A simulated client. Test program only.
#include "tests/simulation/client.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/simulation/world.h"

namespace ftrun::sim {

Client::Client(World* world, int number, bool poisoner)
    : world_(world), number_(number), poisoner_(poisoner) {
  Random& random = world->random;
  constexpr Farewell kKinds[] = {Farewell::kClose, Farewell::kHalfClose, Farewell::kQuit,
                                 Farewell::kReset, Farewell::kStay,      Farewell::kQuitEarly};
  farewell_ = kKinds[random.below(world->turns_clients_away() ? 5 : 6)];
  bulk_ = random.one_in(24);
  total_ = static_cast<uint32_t>(bulk_ ? random.between(10, 40) : random.sized(40));
  pipeline_ = static_cast<uint32_t>(random.sized(64));
  send_buffer_ = !bulk_ && random.one_in(3) ? random.between(1, 100) : random.between(4000, 100000);
  poison_ = poisoner ? static_cast<uint32_t>(random.between(1, total_)) : 0;
  if (farewell_ == Farewell::kQuit) {
    quit_ = total_;
  } else if (farewell_ == Farewell::kQuitEarly) {
    quit_ = static_cast<uint32_t>(random.between(1, total_));
    poison_ = std::min(poison_, quit_);
  }
}

void Client::step() {
  if (done_) {
    return;
  }
  if (socket_ == nullptr) {
    socket_ = world_->kernel.connect(7000, send_buffer_, make_peer(number_));
    served_ = done_ = socket_ == nullptr && world_->doomed();  // nobody listens any more
    return;
  }
  if (farewell_ == Farewell::kReset && world_->random.one_in(200)) {
    socket_->client_reset = true;
    served_ = done_ = true;
    return;
  }
  if (world_->random.one_in(2)) {
    send_some();
  } else {
    read_some();
  }
}

void Client::make_request() {
  Random& random = world_->random;
  ++made_;
  if (quit_ == 0 || made_ <= quit_) {  // others are never served
    world_->note_request();
  }
  auto operation = static_cast<Operation>(random.between(1, bulk_ ? 4 : 3));
  if (random.one_in(8)) {
    operation = Operation::kLock;
  }
  uint32_t pad = static_cast<uint32_t>(random.one_in(4) ? random.sized(100) : 0);
  if (bulk_ && random.one_in(2)) {
    pad = static_cast<uint32_t>(random.below(kPadBytesMax));
  }
  if (made_ == quit_) {
    operation = Operation::kQuit;
  }
  if (made_ == poison_) {
    operation = Operation::kPoison;
  }
  put_request(&unsent_, made_, operation, pad);
  made_bytes_ += kRequestBytes + pad;
  quit_end_ = operation == Operation::kQuit ? made_bytes_ : quit_end_;
}

bool Client::may_make_request() const {
  const bool behind_quit = quit_ != 0 && made_ >= quit_;  // waits for no replies
  return made_ < total_ && (behind_quit || made_ - replies_ < pipeline_) && unsent_.size() < 1000;
}

void Client::send_some() {
  while (may_make_request()) {
    make_request();
    if (world_->random.one_in(3)) {
      break;
    }
  }
  const uint64_t undropped = socket_->in.size() - socket_->dropped;
  const size_t room = undropped < 2 * kReceiveWindowBytes ? 2 * kReceiveWindowBytes - undropped : 0;
  const size_t most = world_->random.one_in(2) ? unsent_.size() : world_->random.sized(100000);
  const size_t count = std::min({unsent_.size(), room, most});
  Kernel::receive(*socket_, unsent_.data(), count);
  unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<long>(count));
  if (farewell_ == Farewell::kHalfClose && made_ == total_ && unsent_.empty()) {
    socket_->in_fin = true;
  }
}

void Client::read_some() {
  const bool ended =
      socket_->server_reset || (socket_->out_fin && socket_->read == socket_->out.size());
  if ((socket_->server_reset && socket_->lost) || (ended && world_->doomed())) {
    served_ = done_ = true;
    return;
  }
  if (socket_->server_reset && poison_ != 0 && made_ >= poison_) {
    return come_again();
  }
  if (ended && replies_ == 0 && world_->turns_clients_away()) {
    world_->forget_requests(made_);
    return come_again();
  }
  if (socket_->server_reset && sent_behind_quit()) {
    served_ = done_ = true;
    return;
  }
  if (socket_->server_reset) {
    return world_->fail(fmt::format("client {}: connection reset", number_));
  }
  const size_t available = socket_->out.size() - socket_->read;
  const size_t most = world_->random.one_in(2) ? available : world_->random.sized(100000);
  const size_t count = std::min(available, most);
  const auto begin = socket_->out.begin() + static_cast<long>(socket_->read);
  unparsed_.insert(unparsed_.end(), begin, begin + static_cast<long>(count));
  socket_->read += count;
  check_replies();
  if (!world_->failed()) {
    say_farewell();
  }
}

// Then the server may reset the connection, which takes replies with it that were not read yet.
bool Client::sent_behind_quit() const {
  return quit_ != 0 && made_ >= quit_ && socket_->in.size() > quit_end_;
}

void Client::come_again() {
  socket_ = nullptr;
  poison_ = made_ = replies_ = 0;
  made_bytes_ = quit_end_ = 0;
  unsent_.clear();
  unparsed_.clear();
}

void Client::say_farewell() {
  const bool at_end = socket_->out_fin && socket_->read == socket_->out.size();
  if (at_end && world_->doomed()) {
    served_ = done_ = true;
  } else if (replies_ < (quit_ == 0 ? total_ : quit_)) {
    if (at_end) {
      world_->fail(fmt::format("client {}: FIN after {} of {} replies", number_, replies_, total_));
    }
    return;
  }
  if (unparsed_.empty() && socket_->urgent_end != socket_->read) {
    world_->fail(fmt::format("client {}: the last byte is not urgent, but the one before {}",
                             number_, socket_->urgent_end));
  }
  if (farewell_ == Farewell::kReset || done_) {
    return;
  }
  served_ = served_ || farewell_ == Farewell::kStay;
  if (farewell_ == Farewell::kClose) {
    socket_->in_fin = true;
  }
  if (at_end) {
    served_ = done_ = true;
    socket_->in_fin = true;
    if (!unparsed_.empty()) {
      world_->fail(fmt::format("client {}: bytes behind the last reply", number_));
    }
    if (quit_ != 0 && socket_->came_before_close > quit_end_ && !world_->doomed()) {
      world_->fail(fmt::format("client {}: an orderly end, but {} bytes were read of {}", number_,
                               quit_end_, socket_->came_before_close));
    }
  }
}

void Client::check_replies() {
  size_t done = 0;
  while (!world_->failed()) {
    size_t length = 0;
    if (!check_reply(unparsed_.data() + done, unparsed_.size() - done, &length)) {
      break;
    }
    done += length;
  }
  unparsed_.erase(unparsed_.begin(), unparsed_.begin() + static_cast<long>(done));
}

// Checks one reply, if it is whole.
bool Client::check_reply(const uint8_t* reply, size_t available, size_t* length) {
  if (available < kReplyBytes) {
    return false;
  }
  const uint32_t sequence = read_u32(reply);
  const uint32_t filler = read_u32(reply + 4);
  const uint64_t counter = read_u64(reply + 8);
  if (sequence != replies_ + 1 || sequence > made_ || (filler != 0 && filler != kDownloadBytes) ||
      counter <= last_counter_) {
    world_->fail(
        fmt::format("client {}: reply {} (counter {}, {} bytes) after reply {} (counter "
                    "{}) of {} requests",
                    number_, sequence, counter, filler, replies_, last_counter_, made_));
    return false;
  }
  if (available < kReplyBytes + filler) {
    return false;
  }
  for (size_t i = 0; i < filler; ++i) {
    if (reply[kReplyBytes + i] != filler_byte(sequence, counter, i)) {
      world_->fail(fmt::format("client {}: wrong byte {} in reply {}", number_, i, sequence));
      return false;
    }
  }
  world_->note_counter(counter);
  ++replies_;
  last_counter_ = counter;
  *length = kReplyBytes + filler;
  return true;
}

std::string Client::describe() const {
  return fmt::format("client {}: farewell {}, {} of {} made, {} unsent, {} replies, socket {}{}",
                     number_, static_cast<int>(farewell_), made_, total_, unsent_.size(), replies_,
                     socket_ == nullptr ? "none" : fmt::format("{}", socket_->tag),
                     socket_ != nullptr && socket_->out_fin ? " fin" : "");
}

}  // namespace ftrun::sim
