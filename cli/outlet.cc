// SPDX-License-Identifier: Apache-2.0
// See outlet.h.
#include "cli/outlet.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace ftrun::cli {
namespace {

// For whoever reads too slowly, once there is nothing more to come.
constexpr int kPatienceMs = 2'000;
// A piece that is written at once: what else is put in meanwhile is seen to be waiting.
constexpr size_t kPieceBytesMax = 64 * 1024;

struct Piece {
  int fd;
  std::string text;
};

// Returns 0, or the errno that ended it.
int write_all(int fd, std::string_view text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = write(fd, text.data() + done, text.size() - done);
    if (written >= 0) {
      done += static_cast<size_t>(written);
    } else if (errno == EAGAIN) {  // somebody else made it non-blocking
      pollfd writable{fd, POLLOUT, 0};
      poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

bool is_one_file(int one, int other) {
  struct stat first {
  }, second{};
  return fstat(one, &first) == 0 && fstat(other, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// The thread that writes. REQUIRES: the mutex is held. False if there can be none.
template <typename Shared>
bool start_writer(const std::shared_ptr<Shared>& shared) {
  // It inherits the mask: signals are its maker's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  try {
    std::thread([shared] { shared->write_for_ever(); }).detach();
  } catch (const std::system_error&) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

}  // namespace

struct Outlet::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Piece> pieces;
  size_t waiting = 0;
  bool is_stuck =
      false;           // nobody reads: settle() has waited in vain, and nothing was written since
  int error = 0;       // news
  int last_error = 0;  // told already
  bool has_thread = false;

  void write_for_ever();
  void note(int number);
};

void Outlet::Shared::note(int number) {
  if (number != 0 && number != EPIPE && number != last_error) {
    error = last_error = number;
  }
}

void Outlet::Shared::write_for_ever() {
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [this] { return !pieces.empty(); });
    const Piece piece = std::move(pieces.front());
    pieces.pop_front();
    lock.unlock();
    const int number = write_all(piece.fd, piece.text);
    lock.lock();
    waiting -= piece.text.size();
    is_stuck = false;
    note(number);
    changed.notify_all();
  }
}

Outlet::Outlet() : shared_(std::make_shared<Shared>()) {}

void Outlet::put(int fd, std::string_view text) {
  const std::lock_guard lock(shared_->mutex);
  if (text.empty() || shared_->waiting + text.size() > kOutletBytesMax) {
    return;
  }
  if (!shared_->has_thread && !(shared_->has_thread = start_writer(shared_))) {
    shared_->note(write_all(fd, text));
    return;
  }
  std::deque<Piece>& pieces = shared_->pieces;
  if (pieces.empty() || pieces.back().fd != fd ||
      pieces.back().text.size() + text.size() > kPieceBytesMax) {
    pieces.push_back({fd, {}});
  }
  pieces.back().text += text;
  shared_->waiting += text.size();
  shared_->changed.notify_all();
}

size_t Outlet::waiting() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->waiting;
}

int Outlet::take_error() {
  const std::lock_guard lock(shared_->mutex);
  return std::exchange(shared_->error, 0);
}

size_t Outlet::settle(int patience_ms) {
  std::unique_lock lock(shared_->mutex);
  while (shared_->waiting > 0 && !shared_->is_stuck) {
    shared_->is_stuck = !shared_->changed.wait_for(
        lock, std::chrono::milliseconds(patience_ms),
        [this, before = shared_->waiting] { return shared_->waiting < before; });
  }
  return shared_->waiting;
}

Outlet& outlet(int stream) {
  // Never destroyed: their threads use them to the process's end.
  static Outlet* const error = new Outlet();
  static Outlet* const output = is_one_file(1, 2) ? error : new Outlet();
  return stream == 1 ? *output : *error;
}

void say(std::string_view text) {
  outlet(2).put(2, "ftrun: " + std::string(text) + "\n");
}

size_t settle_outlets() {
  const size_t unread = outlet(1).settle(kPatienceMs);
  if (&outlet(1) != &outlet(2)) {
    outlet(2).settle(kPatienceMs);
  }
  return unread;
}

}  // namespace ftrun::cli
