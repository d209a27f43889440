// SPDX-License-Identifier: Apache-2.0
// A link between supervisors: see link.h. Runs in the supervisor's event loop.
#include "supervisor/link/link.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace ftrun::link {

namespace {

constexpr size_t kInputBytes = 2 * (kFrameHeaderBytes + kFramePayloadBytesMax);
constexpr size_t kReadBytesMin = 256u << 10;  // room for a read before the buffer is compacted
constexpr size_t kDirectWriteBytesMin = 16u << 10;  // below this a copy is cheaper than a call
constexpr int kSocketBufferBytes = 4 << 20;         // the kernel caps it (net.core.wmem_max)

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

}  // namespace

Result<Link> Link::adopt(int fd) {
  Link link;
  link.fd_ = fd;
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
    return system_error("link: fcntl", errno);
  }
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSocketBufferBytes, sizeof(kSocketBufferBytes));
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kSocketBufferBytes, sizeof(kSocketBufferBytes));
  void* input = mmap(nullptr, kInputBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (input == MAP_FAILED) {
    return system_error("link: mmap of the input buffer", errno);
  }
  link.input_ = static_cast<uint8_t*>(input);
  return link;
}

Link::Link(Link&& other) noexcept {
  *this = std::move(other);
}

Link& Link::operator=(Link&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(queue_, other.queue_);
  std::swap(queue_sent_, other.queue_sent_);
  std::swap(input_, other.input_);
  std::swap(input_start_, other.input_start_);
  std::swap(input_end_, other.input_end_);
  return *this;
}

Link::~Link() {
  close();
  if (input_ != nullptr) {
    munmap(input_, kInputBytes);
  }
}

void Link::close() {
  if (fd_ >= 0) {
    ::close(fd_);
    fd_ = -1;
  }
}

Result<void> Link::send(const unit::Frame& frame) {
  if (fd_ < 0) {
    return Error{"link: closed"};
  }
  if (frame.bytes.size() >= kDirectWriteBytesMin) {
    FTRUN_TRY(flush());
    if (queue_.empty()) {
      return write_direct(frame);
    }
  }
  if (queued_bytes() + frame.bytes.size() > kLinkQueueBytesMax) {
    return Error{"link: the peer does not read; its queue is full"};
  }
  uint8_t header[kFrameHeaderBytes];
  put_frame_header(header, frame);
  queue_.insert(queue_.end(), header, header + kFrameHeaderBytes);
  queue_.insert(queue_.end(), frame.bytes.begin(), frame.bytes.end());
  return {};
}

Result<void> Link::write_direct(const unit::Frame& frame) {
  uint8_t header[kFrameHeaderBytes];
  put_frame_header(header, frame);
  iovec parts[2] = {{header, kFrameHeaderBytes},
                    {const_cast<uint8_t*>(frame.bytes.data()), frame.bytes.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  ssize_t written = sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (written < 0) {
    if (!would_block(errno) && errno != EINTR) {
      return system_error("link: send", errno);
    }
    written = 0;
  }
  // What the kernel did not take waits in the queue.
  size_t done = static_cast<size_t>(written);
  if (done < kFrameHeaderBytes) {
    queue_.insert(queue_.end(), header + done, header + kFrameHeaderBytes);
    done = 0;
  } else {
    done -= kFrameHeaderBytes;
  }
  queue_.insert(queue_.end(), frame.bytes.begin() + static_cast<ptrdiff_t>(done),
                frame.bytes.end());
  return {};
}

Result<void> Link::flush() {
  while (queue_sent_ < queue_.size()) {
    const ssize_t written = ::send(fd_, queue_.data() + queue_sent_, queue_.size() - queue_sent_,
                                   MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (!would_block(errno)) {
        return system_error("link: send", errno);
      }
      if (queue_sent_ > queue_.size() / 2) {
        queue_.erase(queue_.begin(), queue_.begin() + static_cast<ptrdiff_t>(queue_sent_));
        queue_sent_ = 0;
      }
      return {};
    }
    queue_sent_ += static_cast<size_t>(written);
  }
  queue_.clear();
  queue_sent_ = 0;
  return {};
}

// Free space at the end of the input buffer, moving what is buffered to its start when needed.
uint8_t* Link::room(size_t* bytes) {
  if (input_start_ == input_end_) {
    input_start_ = input_end_ = 0;
  } else if (kInputBytes - input_end_ < kReadBytesMin) {
    std::memmove(input_, input_ + input_start_, input_end_ - input_start_);
    input_end_ -= input_start_;
    input_start_ = 0;
  }
  *bytes = kInputBytes - input_end_;
  return input_ + input_end_;
}

Result<bool> Link::parse(const Sink& sink) {
  while (input_start_ < input_end_) {
    unit::Frame frame;
    const FrameResult result =
        get_frame({input_ + input_start_, input_end_ - input_start_}, &frame);
    if (result.state == FrameState::kInvalid) {
      return Error{std::string("link: ") + result.why};
    }
    if (result.state == FrameState::kIncomplete) {
      return true;
    }
    if (!sink(frame)) {
      return false;
    }
    input_start_ += result.bytes;
  }
  return true;
}

Result<void> Link::receive(const Sink& sink) {
  // What an earlier sink had left behind.
  Result<bool> more = parse(sink);
  if (!more.ok()) {
    return more.error();
  }
  while (fd_ >= 0 && *more) {
    size_t space = 0;
    uint8_t* at = room(&space);
    const size_t wanted = space < (1u << 20) ? space : (1u << 20);
    FTRUN_ASSERT(wanted > 0);
    const ssize_t got = recv(fd_, at, wanted, MSG_DONTWAIT);
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (would_block(errno)) {
        return {};
      }
      return system_error("link: receive", errno);
    }
    if (got == 0) {
      return Error{"link: closed by the peer"};
    }
    input_end_ += static_cast<size_t>(got);
    more = parse(sink);
    if (!more.ok()) {
      return more.error();
    }
    // ORDER: a short read has emptied the socket; later bytes raise a new edge.
    if (static_cast<size_t>(got) < wanted) {
      return {};
    }
  }
  return {};
}

}  // namespace ftrun::link
