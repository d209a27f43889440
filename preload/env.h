// SPDX-License-Identifier: Apache-2.0
// What the virtual kernel objects (sockets, epoll, pipes, eventfd, timerfd: preload/net/) need from
// the rest of the shim. Implemented by preload/scheduler.cc, doors.cc, failure.cc and others in the
// shim, and by tests/unit/fake_env.cc in the differential tests: a seam at link time, so that the
// virtual objects are ordinary deterministic code without system calls.
//
// All of it runs in the application, on the shim's stack, by the thread that holds the token. It
// may not call libc. Times are nanoseconds of the unit's virtual CLOCK_MONOTONIC. Errors are
// -errno.
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "eventlog/arrivals.h"
#include "eventlog/output.h"

namespace ftrun::shim {

struct Thread;  // scheduler.h

// A wait that a signal ended and that SA_RESTART would start over (the kernel's ERESTARTSYS). The
// dispatcher turns it into a restart or into -EINTR. Calls that never restart (epoll_wait, poll,
// select, nanosleep, a wait with a socket time-out) return -EINTR themselves.
inline constexpr int kErrRestart = -512;
inline constexpr int kErrRestartAlways = -513;  // whatever the handler asks for (ERESTARTNOINTR)
inline constexpr int64_t kNoDeadline = -1;

// Threads waiting for one thing, first come first served. A thread waits in at most one queue.
// Plain data, valid when zeroed.
struct WaitQueue {
  Thread* first = nullptr;
  Thread* last = nullptr;
};

// The virtual clock: moves at ingest points and, a little, with every reading. Deterministic.
int64_t virtual_now_ns();

// Gives up the token until sched_wake() or the deadline. Returns 0, -ETIMEDOUT or kErrRestart.
// Arrivals are ingested and other threads run meanwhile: the caller must look at its state anew.
int sched_wait(WaitQueue* queue, int64_t deadline_ns);
// Makes up to `count` waiters runnable, oldest first; returns how many. The caller keeps the token.
int sched_wake(WaitQueue* queue, int count);

// An ingest point that does not block: ends the turn if something arrived, and applies it (which
// calls net_apply() below for each item). Call it where a call could observe new arrivals: before
// collecting readiness, and before answering "nothing there".
void ingest_point();

// Issues an output entry (id, kind and fields as in eventlog/output.h). Data is cut into entries of
// kOutputDataBytesMax by the callee. Waits natively for the supervisor if the ring is full, which
// no replica can observe. Returns how many bytes of data were issued: less than there are only if
// the data is the application's and a part's memory cannot be read (guarded.h); that part is not
// issued.
size_t emit_output(const Output& entry);

// Between two pieces of output that one call issues without end: ends the turn if it has issued as
// much as one may, which is so at the same byte in every replica. Arrivals are let in; the token
// stays. Output that has to be kept until its turn ends is bounded by it.
void end_full_turn();

// Holds a descriptor number with a placeholder in the kernel's table, so that native and virtual
// descriptors share one numbering: the lowest free number >= `at_least`. Returns it, or -EMFILE.
int hold_descriptor(int at_least);
// As dup2 onto `number`: afterwards the number is a placeholder, whatever it was. 0 or -errno.
int hold_descriptor_at(int number);
void release_descriptor(int number);
// The soft RLIMIT_NOFILE, as the application set it.
int descriptor_limit();

// Zeroed memory from the shim's own arena (a fixed address range, reserved at start); never given
// back. Callers keep free lists. Stops the process with a message when the arena is exhausted.
void* arena_alloc(size_t bytes, size_t alignment);

// Sends SIGPIPE to the calling thread, as the kernel does for a write that nobody can read. Only
// marks it pending: the handler runs after the call that returns -EPIPE.
void raise_sigpipe();
// Sends a signal about a file to its owner, as F_SETOWN_EX names it: `type` F_OWNER_PID,
// F_OWNER_PGRP or F_OWNER_TID. False: what came with it was lost (signals.h).
bool signal_file_owner(int type, int id, const siginfo_t& info);
// Whether there is such a process, group or thread.
bool is_file_owner(int type, int id);
// CLOCK_REALTIME minus the virtual CLOCK_MONOTONIC, fixed for the life of the unit's log.
int64_t realtime_offset_ns();

// --- facts about the host's network, as the primary's kernel tells them: choices ---

// A request to the routing tables (rtnetlink(7)); the answer's messages name `port_id` as their
// receiver.
struct RoutingQuestion {
  const void* request;
  size_t length;
  uint32_t port_id;
  bool is_strict;  // NETLINK_GET_STRICT_CHK
};
// The whole answer, message behind message: its length, or -errno (-ENOBUFS: longer than
// `capacity`).
long ask_routing(const RoutingQuestion& question, uint8_t* answer, size_t capacity);
// Which address a datagram socket gets that is connected to `peer`. 0, or -errno as connect(2).
long ask_source_address(int family, const Address& peer, Address* local);
// An ioctl about an interface (netdevice(7)) on a datagram socket of that family; `structure` goes
// in and comes out.
long ask_interface(int family, unsigned long request, void* structure, size_t bytes);
// SIOCGIFCONF's list: its length, or -errno.
inline constexpr size_t kInterfaceListBytesMax = 40 * 1024;
long ask_interface_list(int family, uint8_t* list, size_t capacity);
// What a buffer of a socket may be at most: net.core.wmem_max or rmem_max.
int ask_buffer_limit(bool send);
// Whether the kernel lets this process set an option of SOL_SOCKET to this value: 0 or -errno.
long ask_permission(int name, int value);
// What F_SETPIPE_SZ says to a pipe of the default size.
long ask_pipe_capacity(size_t bytes);
// Whether a Unix socket's name is there: 0, or -errno as access(2).
long ask_path(const char* path);
// Of the application as it sees itself; only calls that name it to the kernel use the kernel's own.
uint32_t application_process_id();
struct ucred application_credentials();  // the same with its effective user and group

// The calling thread has taken bytes from this connection: a failure report names it.
void note_read(uint32_t connection);
// ", called from OBJECT": who called libc's wrapper of the trapped call being handled; valid until
// the next use. REQUIRES: a wrapper that only makes the call, as socket() is.
const char* describe_caller_of_wrapper();
// Stops the process: an invariant of the shim does not hold. Prints `what` into the failure report.
[[noreturn]] void shim_fail(const char* what, int64_t value1 = 0, int64_t value2 = 0);

// --- implemented by preload/net/, called by the rest of the shim ---

// Applies one arrival (not kSignal) to its socket and wakes who waits for it.
void net_apply(const Arrival& item);
// Timer descriptors whose deadline has passed at `now_ns` become readable.
void net_expire_timers(int64_t now_ns);
// Earliest deadline of any armed timer descriptor, or kNoDeadline.
int64_t net_next_timer_ns();

}  // namespace ftrun::shim
