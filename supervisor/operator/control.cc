// SPDX-License-Identifier: Apache-2.0
// The control socket: see control.h. Runs in the supervisor's event loop.
#include "supervisor/operator/control.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ftrun {

namespace {

constexpr uint64_t kFdMask = 0xffffffff;

std::string refusal_of(int fd) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return system_error("SO_PEERCRED", errno).message;
  }
  return control_refusal(peer, geteuid());
}

}  // namespace

std::string control_refusal(const ucred& peer, uid_t own) {
  if (peer.uid == own || peer.uid == 0) {
    return "";
  }
  return "process " + std::to_string(peer.pid) + " of user " + std::to_string(peer.uid) +
         " was turned away from the control socket";
}

Result<std::unique_ptr<ControlServer>> ControlServer::create(const std::string& path, int epoll_fd,
                                                             uint64_t tag, Handler handler,
                                                             Refused refused) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Error{path + ": too long for a Unix socket; choose a shorter --run-dir"};
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  std::unique_ptr<ControlServer> server(new ControlServer());
  server->epoll_fd_ = epoll_fd;
  server->tag_ = tag;
  server->handler_ = std::move(handler);
  server->refused_ = std::move(refused);
  server->fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  unlink(path.c_str());
  if (server->fd_ < 0 ||
      bind(server->fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      chmod(path.c_str(), 0600) != 0 || listen(server->fd_, 16) != 0) {
    return system_error(path, errno);
  }
  server->path_ = path;
  struct stat named {};
  server->inode_ = stat(path.c_str(), &named) == 0 ? named.st_ino : 0;
  server->watch(EPOLL_CTL_ADD, server->fd_, EPOLLIN);
  return server;
}

ControlServer::~ControlServer() {
  for (const auto& [fd, client] : clients_) {
    close(fd);
  }
  if (fd_ >= 0) {
    close(fd_);
  }
  if (!path_.empty()) {
    unlink(path_.c_str());
  }
}

void ControlServer::watch(int operation, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag_ | static_cast<uint32_t>(fd);
  epoll_ctl(epoll_fd_, operation, fd, &event);
}

void ControlServer::process(const epoll_event& event) {
  const int fd = static_cast<int>(event.data.u64 & kFdMask);
  if (fd == fd_) {
    accept_clients();
    return;
  }
  const auto found = clients_.find(fd);
  if (found != clients_.end() && !serve(fd, &found->second, event.events)) {
    close(fd);
    clients_.erase(found);
  }
}

bool ControlServer::reachable() const {
  struct stat named {};
  return stat(path_.c_str(), &named) == 0 && named.st_ino == inode_;
}

void ControlServer::resume() {
  pause(false);
}

void ControlServer::pause(bool paused) {
  if (paused != paused_) {
    paused_ = paused;
    watch(EPOLL_CTL_MOD, fd_, paused ? 0u : EPOLLIN);
  }
}

void ControlServer::accept_clients() {
  const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    // The client waits on and would wake us at once, again and again.
    pause(errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
    return;
  }
  const std::string why = refusal_of(fd);
  if (!why.empty()) {
    close(fd);
    refused_(why);
    return;
  }
  if (clients_.size() >= kControlClientsMax) {
    evict_idlest();
  }
  clients_[fd].last_heard = ++heard_;
  watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP);
}

// So that connections which say nothing keep nobody out.
void ControlServer::evict_idlest() {
  const auto idlest = std::min_element(
      clients_.begin(), clients_.end(),
      [](const auto& x, const auto& y) { return x.second.last_heard < y.second.last_heard; });
  close(idlest->first);
  clients_.erase(idlest);
}

bool ControlServer::read_lines(int fd, Client* client) {
  char buffer[4096];
  const ssize_t got = read(fd, buffer, sizeof(buffer));
  if (got < 0) {
    return errno == EAGAIN || errno == EINTR;
  }
  client->input.append(buffer, static_cast<size_t>(got));
  for (size_t end; (end = client->input.find('\n')) != std::string::npos;) {
    client->last_heard = ++heard_;
    client->output += handler_(client->input.substr(0, end)) + "\n";
    client->input.erase(0, end + 1);
  }
  return got > 0 && client->input.size() <= kControlLineBytesMax &&
         client->output.size() <= 16 * kControlLineBytesMax;
}

bool ControlServer::serve(int fd, Client* client, uint32_t events) {
  const bool open =
      (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0 || read_lines(fd, client);
  if (!client->output.empty()) {
    const ssize_t sent =
        send(fd, client->output.data(), client->output.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      return false;
    }
    client->output.erase(0, sent < 0 ? 0 : static_cast<size_t>(sent));
    watch(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLRDHUP | (client->output.empty() ? 0u : EPOLLOUT));
  }
  return open;
}

}  // namespace ftrun
