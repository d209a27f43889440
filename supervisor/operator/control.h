// SPDX-License-Identifier: Apache-2.0
// The control socket sup.<id>.sock: JSON lines over a Unix stream socket, for ftrun and ftctl.
//
//   {"cmd":"status"}                          -> one JSON object, see Replica::status_json()
//   {"cmd":"signal","number":15,"seq":n}      -> {"ok":true,"seq":n}; n from 1, one sequence for
//   the
//                                                unit; without "seq" the supervisor gives the next
//   {"cmd":"stop"}                            -> {"ok":true}; this replica ends without more ado
//   anything else                             -> {"ok":false,"error":"..."}
//
// Only the own user and root may connect (SO_PEERCRED). With kControlClientsMax connections open, a
// new one takes the place of the one that was silent for longest. Runs in the supervisor's event
// loop.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "supervisor/base/result.h"

namespace ftrun {

inline constexpr size_t kControlLineBytesMax = 64 * 1024;
inline constexpr size_t kControlClientsMax = 64;

// Why this peer may not speak to a supervisor of user `own`; empty: it may.
std::string control_refusal(const ucred& peer, uid_t own);

class ControlServer {
 public:
  // Answers one line (without the newline) with one line (without the newline).
  using Handler = std::function<std::string(const std::string& line)>;
  // Told of everybody who was turned away.
  using Refused = std::function<void(const std::string& text)>;
  // `tag` is or'ed into epoll data. A stale socket file of a dead supervisor is replaced.
  static Result<std::unique_ptr<ControlServer>> create(const std::string& path, int epoll_fd,
                                                       uint64_t tag, Handler handler,
                                                       Refused refused);
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;
  ~ControlServer();
  void process(const epoll_event& event);
  // Whether the socket still has its name: whoever cleans up /tmp may have removed it.
  bool reachable() const;
  // Now and then: without descriptors for a new client, nobody is waited for until this is called.
  void resume();

 private:
  struct Client {
    std::string input, output;
    uint64_t last_heard = 0;  // in the order of all requests
  };
  ControlServer() = default;
  void accept_clients();
  void pause(bool paused);
  void evict_idlest();
  bool serve(int fd, Client* client, uint32_t events);  // false: the client is gone
  bool read_lines(int fd, Client* client);
  void watch(int operation, int fd, uint32_t events);

  int fd_ = -1;
  int epoll_fd_ = -1;
  uint64_t tag_ = 0;
  std::string path_;
  ino_t inode_ = 0;  // of the name
  Handler handler_;
  Refused refused_;
  uint64_t heard_ = 0;
  bool paused_ = false;
  std::map<int, Client> clients_;
};

}  // namespace ftrun
