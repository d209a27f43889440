// SPDX-License-Identifier: Apache-2.0
// See net_differential.h.
#include "tests/unit/net_differential.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstring>

namespace ftrun::shim {
namespace {

constexpr size_t kHistoryLines = 100;

}  // namespace

Differential::Differential() {
  fake::reset();
  kernel_->take_file_signals();  // of what was closed before
  const int real = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address_length_ = sizeof(address_);
  if (::bind(real, reinterpret_cast<sockaddr*>(&in), sizeof(in)) != 0 || ::listen(real, 64) != 0 ||
      ::getsockname(real, reinterpret_cast<sockaddr*>(&address_), &address_length_) != 0) {
    ADD_FAILURE() << "no kernel listener: " << strerror(errno);
  }
  fake::env().forced_descriptors = {real};
  push(SlotKind::kListener, real, fake::listening_socket());
  listener_id_ = fake::last_bound_socket();
}

Differential::~Differential() {
  while (!slots_.empty()) {
    close(slots_.size() - 1);
  }
}

void Differential::log(const std::string& line) {
  log_.push_back(line);
}

std::string Differential::history() const {
  std::string text;
  for (size_t i = log_.size() < kHistoryLines ? 0 : log_.size() - kHistoryLines; i < log_.size();
       ++i) {
    text += log_[i] + "\n";
  }
  return text;
}

void Differential::same(long kernel, long virtual_result, const std::string& what) {
  if (kernel != virtual_result) {
    ADD_FAILURE() << what << ": kernel " << kernel << ", virtual " << virtual_result << "\n"
                  << history();
  }
  const int kernel_pipes = kernel_->take_sigpipes();
  const int virtual_pipes = virtual_->take_sigpipes();
  if (kernel_pipes != virtual_pipes) {
    ADD_FAILURE() << what << ": SIGPIPE kernel " << kernel_pipes << ", virtual " << virtual_pipes
                  << "\n"
                  << history();
  }
}

void Differential::push(SlotKind kind, long kernel_fd, long virtual_fd,
                        std::shared_ptr<Link> link) {
  if (link != nullptr) {
    ++link->slots;
  }
  slots_.push_back(
      {kind, {static_cast<int>(kernel_fd), static_cast<int>(virtual_fd)}, std::move(link)});
}

std::string Differential::pattern(size_t length) {
  std::string bytes(length, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(next_byte_++);
  }
  return bytes;
}

void Differential::read(size_t index, size_t length, int flags) {
  const Slot& slot = slots_[index];
  log("read " + std::to_string(index) + " kind " + std::to_string(static_cast<int>(slot.kind)) +
      " " + std::to_string(length) + " flags " + std::to_string(flags));
  std::string bytes[2] = {std::string(length, '\0'), std::string(length, '\0')};
  const long kernel = kernel_->read(slot.fd[0], bytes[0].data(), length, flags);
  const long virtual_result = virtual_->read(slot.fd[1], bytes[1].data(), length, flags);
  same(kernel, virtual_result, "read");
  EXPECT_EQ(bytes[0], bytes[1]) << history();
  if (flags < 0 || (flags & (MSG_PEEK | MSG_OOB)) == 0) {
    was_read(slot, kernel);
  }
}

void Differential::was_read(const Slot& slot, long bytes) {
  if (slot.link != nullptr && bytes > 0) {
    slot.link->unread -= static_cast<size_t>(bytes);
  }
}

// What the kernel has taken out of the stream, urgent bytes that were passed over included.
// REQUIRES: the last descriptor is about to be closed.
void Differential::note_consumed(const Slot& slot) {
  if (slot.link == nullptr || slot.link->slots > 1) {
    return;
  }
  int unread = 0;
  kernel_->setsockopt(slot.fd[0], SOL_SOCKET, SO_OOBINLINE, 1);
  kernel_->ioctl(slot.fd[0], FIONREAD, &unread);
  slot.link->consumed = slot.link->sent - static_cast<size_t>(unread);
}

void Differential::same_signals() {
  const World::Signals kernel = kernel_->take_file_signals();
  const World::Signals virtual_result = virtual_->take_file_signals();
  if (kernel == virtual_result) {
    return;
  }
  std::string text;
  for (const auto* world : {&kernel, &virtual_result}) {
    text += world == &kernel ? "kernel:" : " virtual:";
    for (const auto& [number, code, band, fd] : *world) {
      text += " " + std::to_string(number) + "/" + std::to_string(code) + "/" +
              std::to_string(band) + "/" + std::to_string(fd);
    }
  }
  ADD_FAILURE() << "signals " << text << "\n" << history();
}

void Differential::own(size_t index, int signal, bool async) {
  control(index, F_SETOWN, static_cast<unsigned long>(getpid()));
  control(index, F_SETSIG, static_cast<unsigned long>(signal));
  const Slot& slot = slots_[index];
  log("O_ASYNC of " + std::to_string(index));
  int on[2] = {async, async};
  same(kernel_->ioctl(slot.fd[0], FIOASYNC, &on[0]), virtual_->ioctl(slot.fd[1], FIOASYNC, &on[1]),
       "FIOASYNC");
  control(index, F_GETOWN, 0);
  control(index, F_GETSIG, 0);
}

void Differential::read_scattered(size_t index, const std::vector<size_t>& lengths) {
  const Slot& slot = slots_[index];
  log("readv " + std::to_string(index) + " of " + std::to_string(lengths.size()));
  std::vector<std::string> buffers[2];
  std::vector<iovec> iov[2];
  for (int w = 0; w < 2; ++w) {
    for (const size_t length : lengths) {
      buffers[w].emplace_back(length, '\0');
    }
    for (std::string& buffer : buffers[w]) {
      iov[w].push_back({buffer.data(), buffer.size()});
    }
  }
  const int count = static_cast<int>(lengths.size());
  const long kernel = kernel_->readv(slot.fd[0], iov[0].data(), count);
  same(kernel, virtual_->readv(slot.fd[1], iov[1].data(), count), "readv");
  EXPECT_EQ(buffers[0], buffers[1]) << history();
  was_read(slot, kernel);
}

void Differential::write(size_t index, size_t length, int flags) {
  const Slot slot = slots_[index];
  log("write " + std::to_string(index) + " " + std::to_string(length) + " flags " +
      std::to_string(flags));
  const std::string bytes = pattern(length);
  const long kernel = kernel_->write(slot.fd[0], bytes.data(), length, flags);
  const long virtual_result = virtual_->write(slot.fd[1], bytes.data(), length, flags);
  same(kernel, virtual_result, "write");
  was_written(slot, kernel);
}

void Differential::write_gathered(size_t index, const std::vector<size_t>& lengths) {
  const Slot slot = slots_[index];
  log("writev " + std::to_string(index) + " of " + std::to_string(lengths.size()));
  std::vector<std::string> buffers;
  std::vector<iovec> iov;
  for (const size_t length : lengths) {
    buffers.push_back(pattern(length));
  }
  for (std::string& buffer : buffers) {
    iov.push_back({buffer.data(), buffer.size()});
  }
  const int count = static_cast<int>(lengths.size());
  const long kernel = kernel_->writev(slot.fd[0], iov.data(), count);
  same(kernel, virtual_->writev(slot.fd[1], iov.data(), count), "writev");
  was_written(slot, kernel);
}

void Differential::control(size_t index, int command, unsigned long argument) {
  const Slot& slot = slots_[index];
  log("fcntl " + std::to_string(index) + " " + std::to_string(command) + " " +
      std::to_string(argument));
  same(kernel_->fcntl(slot.fd[0], command, argument),
       virtual_->fcntl(slot.fd[1], command, argument), "fcntl");
}

void Differential::ask_option(size_t index, int level, int name) {
  const Slot& slot = slots_[index];
  log("getsockopt " + std::to_string(index) + " " + std::to_string(level) + " " +
      std::to_string(name));
  int value[2] = {-1, -1};
  same(kernel_->getsockopt(slot.fd[0], level, name, &value[0]),
       virtual_->getsockopt(slot.fd[1], level, name, &value[1]), "getsockopt");
  same(value[0], value[1], "getsockopt value");
}

void Differential::set_option(size_t index, int level, int name, int value) {
  const Slot& slot = slots_[index];
  log("setsockopt " + std::to_string(index) + " " + std::to_string(level) + " " +
      std::to_string(name) + " = " + std::to_string(value));
  same(kernel_->setsockopt(slot.fd[0], level, name, value),
       virtual_->setsockopt(slot.fd[1], level, name, value), "setsockopt");
}

void Differential::was_written(const Slot& slot, long bytes) {
  if (slot.link == nullptr || bytes <= 0) {
    return;
  }
  slot.link->unseen += static_cast<size_t>(bytes);
  if (slot.link->peer < 0 && !slot.link->reset) {  // the peer's kernel answers with a reset
    slot.link->reset = true;
    fake::reset_connection(slot.link->id, ECONNRESET);
    fake::apply_arrivals();
    settle_server(slot);
  }
}

void Differential::shutdown(size_t index, int how) {
  const Slot slot = slots_[index];
  log("shutdown " + std::to_string(index) + " " + std::to_string(how));
  same(kernel_->shutdown(slot.fd[0], how), virtual_->shutdown(slot.fd[1], how), "shutdown");
  if (slot.link != nullptr) {
    slot.link->server_shut |= how + 1;
    settle_server(slot);
  }
}

namespace {

// Whether the server's kernel has ended this peer's connection with a reset.
bool ends_with_reset(int peer) {
  constexpr int kPatienceMs = 5000;
  char bytes[4096];
  pollfd waits = {peer, POLLIN, 0};
  ssize_t got = 1;
  while (got > 0 && poll(&waits, 1, kPatienceMs) == 1) {
    got = recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT);
  }
  return got < 0 && errno == ECONNRESET;
}

}  // namespace

void Differential::forget(const Slot& slot) {
  if (slot.link == nullptr || --slot.link->slots > 0) {
    return;
  }
  bool found = false;
  for (const auto& entry : fake::env().outputs) {
    if (entry.kind == OutputKind::kClose && entry.id == slot.link->id) {
      found = true;
      EXPECT_EQ(entry.value, slot.link->consumed) << history();
    }
  }
  EXPECT_TRUE(found) << "no close was issued\n" << history();
  // What the edge makes of that count: see Host::edge_close().
  if (slot.link->peer >= 0 && !slot.link->reset && slot.link->server_shut == 0) {
    // An urgent byte that was passed over is not unread: the kernel counts what it has not taken.
    EXPECT_EQ(ends_with_reset(slot.link->peer), slot.link->consumed < slot.link->sent) << history();
  }
  if (slot.link->peer >= 0) {
    ::close(slot.link->peer);
    slot.link->peer = -1;
  }
}

void Differential::close(size_t index) {
  const Slot slot = slots_[index];
  log("close " + std::to_string(index));
  note_consumed(slot);
  same(kernel_->close(slot.fd[0]), virtual_->close(slot.fd[1]), "close");
  slots_.erase(slots_.begin() + static_cast<long>(index));
  forget(slot);
}

void Differential::dup(size_t index) {
  const Slot slot = slots_[index];
  log("dup " + std::to_string(index) + " -> " + std::to_string(slots_.size()));
  const long kernel_fd = kernel_->dup(slot.fd[0]);
  fake::env().forced_descriptors = {static_cast<int>(kernel_fd)};
  push(slot.kind, kernel_fd, virtual_->dup(slot.fd[1]), slot.link);
}

void Differential::dup_over(size_t index, size_t target) {
  const Slot slot = slots_[index];
  const Slot before = slots_[target];
  log("dup2 " + std::to_string(index) + " over " + std::to_string(target));
  note_consumed(before);
  const long kernel = kernel_->dup2(slot.fd[0], before.fd[0]);
  const long virtual_result = virtual_->dup2(slot.fd[1], before.fd[1]);
  EXPECT_EQ(kernel, before.fd[0]);
  EXPECT_EQ(virtual_result, before.fd[1]);
  slots_[target] = {slot.kind, {before.fd[0], before.fd[1]}, slot.link};
  if (slot.link != nullptr) {
    ++slot.link->slots;
  }
  forget(before);
}

void Differential::add(SlotKind kind, int flags) {
  int fds[2][2] = {{-1, -1}, {-1, -1}};
  World* worlds[2] = {kernel_.get(), virtual_.get()};
  long result[2] = {0, 0};
  for (int w = 0; w < 2; ++w) {
    switch (kind) {
      case SlotKind::kFresh:
        result[w] = worlds[w]->socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
        break;
      case SlotKind::kEpoll:
        result[w] = worlds[w]->epoll_create();
        break;
      case SlotKind::kEvent:
        result[w] =
            worlds[w]->eventfd(static_cast<unsigned>(flags & 1), O_NONBLOCK | (flags & 2) / 2);
        break;
      case SlotKind::kTimer:
        result[w] = worlds[w]->timerfd(TFD_NONBLOCK);
        break;
      case SlotKind::kPair:
        result[w] = worlds[w]->socketpair(flags | SOCK_NONBLOCK, fds[w]);
        break;
      default:
        result[w] = worlds[w]->pipe(fds[w], flags | O_NONBLOCK);
        break;
    }
    // Equal numbers in both worlds: an epoll knows its items by file and number.
    if (w == 0 && fds[0][0] >= 0) {
      fake::env().forced_descriptors = {fds[0][0], fds[0][1]};
    } else if (w == 0 && result[0] >= 0) {
      fake::env().forced_descriptors = {static_cast<int>(result[0])};
    }
  }
  log("add kind " + std::to_string(static_cast<int>(kind)) + " flags " + std::to_string(flags) +
      " -> " + std::to_string(slots_.size()));
  if (result[0] < 0 || result[1] < 0) {
    same(result[0], result[1], "add");
    return;
  }
  if (fds[0][0] < 0) {
    push(kind, result[0], result[1]);
    return;
  }
  push(kind == SlotKind::kPair ? kind : SlotKind::kPipeRead, fds[0][0], fds[1][0]);
  push(kind == SlotKind::kPair ? kind : SlotKind::kPipeWrite, fds[0][1], fds[1][1]);
}

void Differential::epoll_ctl(size_t epoll, int operation, size_t target, uint32_t events) {
  const Slot& on = slots_[epoll];
  const Slot& slot = slots_[target];
  log("epoll_ctl " + std::to_string(epoll) + " op " + std::to_string(operation) + " on " +
      std::to_string(target) + " events " + std::to_string(events) + " (fds " +
      std::to_string(on.fd[0]) + ", " + std::to_string(slot.fd[0]) + ")");
  const uint64_t data = static_cast<uint64_t>(slot.fd[0]);  // the same name in both worlds
  same(kernel_->epoll_ctl(on.fd[0], operation, slot.fd[0], events, data),
       virtual_->epoll_ctl(on.fd[1], operation, slot.fd[1], events, data), "epoll_ctl");
}

void Differential::epoll_wait(size_t epoll, int max_events) {
  const Slot& on = slots_[epoll];
  Events events[2];
  const long kernel = kernel_->epoll_wait(on.fd[0], max_events, &events[0]);
  const long virtual_result = virtual_->epoll_wait(on.fd[1], max_events, &events[1]);
  std::string line = "epoll_wait " + std::to_string(epoll) + " (fd " + std::to_string(on.fd[0]) +
                     ") max " + std::to_string(max_events);
  for (const auto& world : events) {
    line += " |";
    for (const auto& [data, bits] : world) {
      line += " " + std::to_string(data) + ":" + std::to_string(bits);
    }
  }
  log(line);
  same(kernel, virtual_result, "epoll_wait");
  if (events[0] != events[1]) {
    ADD_FAILURE() << "epoll_wait reports differ\n" << history();
  }
}

void Differential::poll(const std::vector<size_t>& indexes, const std::vector<short>& events) {
  std::vector<pollfd> fds[2];
  std::string line = "poll";
  for (size_t i = 0; i < indexes.size(); ++i) {
    line += " " + std::to_string(slots_[indexes[i]].fd[0]) + ":" + std::to_string(events[i]);
    for (int w = 0; w < 2; ++w) {
      fds[w].push_back({slots_[indexes[i]].fd[w], events[i], 0});
    }
  }
  log(line);
  same(kernel_->poll(&fds[0]), virtual_->poll(&fds[1]), "poll");
  for (size_t i = 0; i < indexes.size(); ++i) {
    if (fds[0][i].revents != fds[1][i].revents) {
      ADD_FAILURE() << "poll of slot " << indexes[i] << ", fd " << fds[0][i].fd << ": kernel "
                    << fds[0][i].revents << ", virtual " << fds[1][i].revents << "\n"
                    << history();
    }
  }
}

void Differential::select(const std::vector<size_t>& indexes, const std::vector<int>& sets) {
  World* worlds[2] = {kernel_.get(), virtual_.get()};
  long result[2];
  fd_set bits[2][3];
  log("select of " + std::to_string(indexes.size()));
  for (int w = 0; w < 2; ++w) {
    int highest = 0;
    for (auto& set : bits[w]) {
      FD_ZERO(&set);
    }
    for (size_t i = 0; i < indexes.size(); ++i) {
      const int fd = slots_[indexes[i]].fd[w];
      highest = fd >= highest ? fd + 1 : highest;
      for (int set = 0; set < 3; ++set) {
        if ((sets[i] >> set & 1) != 0) {
          FD_SET(fd, &bits[w][set]);
        }
      }
    }
    result[w] = worlds[w]->select(highest, &bits[w][0], &bits[w][1], &bits[w][2]);
  }
  same(result[0], result[1], "select");
  for (const size_t index : indexes) {
    for (int set = 0; set < 3; ++set) {
      EXPECT_EQ(FD_ISSET(slots_[index].fd[0], &bits[0][set]),
                FD_ISSET(slots_[index].fd[1], &bits[1][set]))
          << history();
    }
  }
}

void Differential::look(size_t index) {
  const Slot& slot = slots_[index];
  poll({index}, {static_cast<short>(POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM |
                                    POLLWRNORM | POLLRDBAND | POLLWRBAND)});
  same(kernel_->fcntl(slot.fd[0], F_GETFL, 0), virtual_->fcntl(slot.fd[1], F_GETFL, 0), "F_GETFL");
  same(kernel_->getpeername(slot.fd[0]), virtual_->getpeername(slot.fd[1]), "getpeername");
  if (slot.kind != SlotKind::kEvent && slot.kind != SlotKind::kTimer &&
      slot.kind != SlotKind::kEpoll) {
    int bytes[2] = {0, 0};
    same(kernel_->ioctl(slot.fd[0], FIONREAD, &bytes[0]),
         virtual_->ioctl(slot.fd[1], FIONREAD, &bytes[1]), "FIONREAD");
    same(bytes[0], bytes[1], "FIONREAD bytes");
  }
  if (slot.kind == SlotKind::kPair) {
    int bytes[2] = {-1, -1};
    same(kernel_->ioctl(slot.fd[0], SIOCOUTQ, &bytes[0]),
         virtual_->ioctl(slot.fd[1], SIOCOUTQ, &bytes[1]), "SIOCOUTQ");
    same(bytes[0], bytes[1], "SIOCOUTQ bytes");
  }
  if (slot.kind == SlotKind::kConnection || slot.kind == SlotKind::kFresh ||
      slot.kind == SlotKind::kListener) {
    int at_mark[2] = {-1, -1};
    same(kernel_->ioctl(slot.fd[0], SIOCATMARK, &at_mark[0]),
         virtual_->ioctl(slot.fd[1], SIOCATMARK, &at_mark[1]), "SIOCATMARK");
    same(at_mark[0], at_mark[1], "SIOCATMARK result");
  }
}

void Differential::timer_set(size_t index, int64_t first_ns, int64_t interval_ns) {
  const Slot& slot = slots_[index];
  log("timer " + std::to_string(index) + " " + std::to_string(first_ns));
  itimerspec spec = {};
  spec.it_value = {first_ns / 1000000000, first_ns % 1000000000};
  spec.it_interval = {interval_ns / 1000000000, interval_ns % 1000000000};
  same(kernel_->timerfd_settime(slot.fd[0], 0, spec),
       virtual_->timerfd_settime(slot.fd[1], 0, spec), "timerfd_settime");
  if (first_ns > 0 && first_ns < 1000000) {  // meant to expire now
    std::vector<pollfd> fds = {{slot.fd[0], POLLIN, 0}};
    EXPECT_TRUE(eventually([&] { return kernel_->poll(&fds) == 1; }));
    fake::env().now_ns += first_ns;
    net_expire_timers(fake::env().now_ns);
  }
}

}  // namespace ftrun::shim
