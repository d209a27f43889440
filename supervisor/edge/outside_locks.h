// SPDX-License-Identifier: Apache-2.0
// Locks of the unit on files outside its state directories (eventlog/locks.h): held through a
// descriptor that is taken from the own application, so they belong to an open file description
// that the supervisor, its keeper and the application share, and no single death gives them back.
// Runs in the supervisor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>

#include "eventlog/locks.h"
#include "supervisor/edge/socket_table.h"

namespace ftrun::edge {

class OutsideLocks {
 public:
  OutsideLocks() = default;
  OutsideLocks(const OutsideLocks&) = delete;
  OutsideLocks& operator=(const OutsideLocks&) = delete;
  ~OutsideLocks();

  // `application`: a pidfd, borrowed. `table`: where descriptors are entered; may be null.
  void set_application(int application) { application_ = application; }
  void set_table(SocketTable* table) { table_ = table; }

  // The answer, an errno or 0; nothing while it waits for somebody else's lock.
  std::optional<int> request(uint32_t id, uint32_t flags, const Address& address);
  size_t size() const { return locks_.size(); }  // each is a descriptor
  // Gives it back; false: there is none with this id.
  bool release(uint32_t id);
  // Tries again what waits. Call it at every tick.
  using Answer = std::function<void(uint32_t id, int error, const Address& address)>;
  void retry(const Answer& answer);
  // A lock taken from a dead supervisor: `fd` is ours from here on.
  void adopt(uint32_t id, int fd);
  // Their descriptors are the caller's; they stay in the table, and locked.
  std::vector<std::pair<uint32_t, int>> let_go();

 private:
  struct Lock {
    int fd = -1;
    bool waits = false;
    uint32_t flags = 0;
    Address address;
  };
  int open_lock(uint32_t id, const LockTarget& target, Lock* lock);

  int application_ = -1;
  SocketTable* table_ = nullptr;
  std::unordered_map<uint32_t, Lock> locks_;
};

// Names a locked file in the socket table, where sockets have their cookie: its inode; 0 on
// failure.
uint64_t file_cookie(int fd);

}  // namespace ftrun::edge
