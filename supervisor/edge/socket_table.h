// SPDX-License-Identifier: Apache-2.0
// What a supervisor's client sockets are called in the unit, in a memfd of its own, indexed by
// descriptor number. When the supervisor dies, whoever takes its descriptors from the keeper reads
// here which connection each socket is; stream positions are the kernel's business. A socket that
// stands here without an entry was accepted by the dead supervisor in its last instruction.
//
// Why not a frame to the primary: a store cannot be lost, late, or in flight when the writer is
// killed. Runs in the supervisor.
//
// ORDER: a line is filled in before its cookie is stored with release; it counts only while the
// cookie is that of the socket (SO_COOKIE). The cookie is cleared before the descriptor is closed.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "supervisor/base/result.h"

namespace ftrun::edge {

inline constexpr uint32_t kSocketTableLines = 65536;  // descriptors beyond it are not used
inline constexpr uint64_t kSocketTableMagic = 0x3145474445544600;  // versioned: ..1
inline constexpr char kSocketTableName[] = "ftrun-sockets";        // of the memfd

// A lock is no socket but a file (outside_locks.h); its inode stands for the cookie.
enum class SocketKind : uint32_t { kNone = 0, kConnection = 1, kListener = 2, kLock = 3 };
// Bits of SocketLine::flags.
inline constexpr uint32_t kSocketShut = 1;       // shutdown(SHUT_WR) was called, or is about to be
inline constexpr uint32_t kSocketListening = 2;  // listen() was called, or is about to be

struct SocketLine {
  std::atomic<uint64_t> cookie;
  SocketKind kind;
  uint32_t id;        // connection, or socket of a listener
  uint32_t listener;  // connection: the listener's socket
  std::atomic<uint32_t> flags;
  uint64_t reserved;  // zero
};
static_assert(sizeof(SocketLine) == 32);

struct SocketTableMemory {
  uint64_t magic;
  uint64_t reserved[3];  // zero
  std::array<SocketLine, kSocketTableLines> lines;
};
static_assert(sizeof(SocketTableMemory) == 32 + 32 * kSocketTableLines);

class SocketTable {
 public:
  static Result<SocketTable> create();
  static Result<SocketTable> attach(int fd);  // takes over `fd`, also on failure
  SocketTable() = default;
  SocketTable(SocketTable&& other) noexcept;
  SocketTable& operator=(SocketTable&& other) noexcept;
  ~SocketTable();

  // REQUIRES (everywhere): fd < kSocketTableLines. `cookie` is socket_cookie(fd).
  SocketLine& line(int fd) { return memory_->lines[static_cast<size_t>(fd)]; }
  void set(int fd, uint64_t cookie, SocketKind kind, uint32_t id, uint32_t listener,
           uint32_t flags);
  void clear(int fd) { line(fd).cookie.store(0, std::memory_order_release); }

 private:
  Result<void> map();
  int fd_ = -1;
  SocketTableMemory* memory_ = nullptr;
};

// SO_COOKIE; 0 when `fd` is not a socket.
uint64_t socket_cookie(int fd);

}  // namespace ftrun::edge
