// SPDX-License-Identifier: Apache-2.0
// One non-blocking TCP connection to another supervisor, speaking frames (frame.h). Small frames
// collect in a buffer that flush() writes once per turn of the event loop; large ones go to the
// kernel straight from the borrowed bytes. Runs in the supervisor's event loop (one thread).
// A link only carries frames: who the peer is and whether it lives is judged by peers.h.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "supervisor/base/result.h"
#include "supervisor/link/frame.h"

namespace ftrun::link {

// Above this many queued bytes the loop stops reading from clients until the peer has caught up.
inline constexpr size_t kLinkHighWaterBytes = 4u << 20;
// A queue that grows beyond this is a broken peer: the log's run-ahead and the receive windows are
// bounded far below it.
inline constexpr size_t kLinkQueueBytesMax = 256u << 20;

class Link {
 public:
  // Takes over a connected socket; sets it non-blocking, without delay, with large buffers.
  static Result<Link> adopt(int fd);
  Link() = default;
  Link(Link&& other) noexcept;
  Link& operator=(Link&& other) noexcept;
  ~Link();

  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void close();

  // Queues or writes `frame`; its bytes are borrowed for the call only.
  Result<void> send(const unit::Frame& frame);
  // Writes what is queued as far as the kernel takes it. Call once per turn of the loop and when
  // the socket has become writable.
  Result<void> flush();
  size_t queued_bytes() const { return queue_.size() - queue_sent_; }

  // Reads until nothing is left and hands each whole frame to `sink`, which returns false to stop:
  // that frame and the rest stay, and are handed over by the next receive(). An Error: the
  // connection is broken, closed, or speaks nonsense.
  using Sink = std::function<bool(const unit::Frame&)>;
  Result<void> receive(const Sink& sink);

 private:
  Result<bool> parse(const Sink& sink);
  Result<void> write_direct(const unit::Frame& frame);
  uint8_t* room(size_t* bytes);

  int fd_ = -1;
  std::vector<uint8_t> queue_;  // encoded frames; [queue_sent_, end) is not written yet
  size_t queue_sent_ = 0;
  uint8_t* input_ = nullptr;  // kInputBytes of address space; pages come as they are used
  size_t input_start_ = 0;
  size_t input_end_ = 0;
};

}  // namespace ftrun::link
