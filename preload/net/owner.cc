// SPDX-License-Identifier: Apache-2.0
// See owner.h.
#include "preload/net/owner.h"

#include "preload/guarded.h"

namespace ftrun::shim {
namespace {

constexpr unsigned long kSignalMax = 64;

// The kernel's band_table: poll events by reason.
long band_of(int reason) {
  switch (reason) {
    case POLL_IN:
      return EPOLLIN | EPOLLRDNORM;
    case POLL_OUT:
      return EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
    case POLL_ERR:
      return EPOLLERR;
    case POLL_PRI:
      return EPOLLPRI | EPOLLRDBAND;
    default:
      return EPOLLHUP | EPOLLERR;
  }
}

// Signals whose si_code means something else already (sig_specific_sicodes) say SI_SIGIO.
bool has_own_codes(int signal) {
  return signal == SIGILL || signal == SIGFPE || signal == SIGSEGV || signal == SIGBUS ||
         signal == SIGTRAP || signal == SIGCHLD || signal == SIGSYS;
}

siginfo_t plain(int signal) {
  siginfo_t info = {};
  info.si_signo = signal;
  info.si_code = SI_KERNEL;
  return info;
}

// Owners outside the program are nobody here (signals.cc), so a signal about a file is the
// program's own act, and needs no record.
void send(const FileOwner& owner, const siginfo_t& info) {
  if (owner.id != 0 && !signal_file_owner(owner.type, owner.id, info)) {
    signal_file_owner(owner.type, owner.id, plain(SIGIO));  // as when the kernel's queue is full
  }
}

long set_owner(FileOwner* owner, int type, int id) {
  if (id < 0 || (id != 0 && !is_file_owner(type, id))) {
    return id < 0 ? -EINVAL : -ESRCH;
  }
  owner->type = type;
  owner->id = id;
  return 0;
}

// A group's number is negative.
long set_owner(FileOwner* owner, int who) {
  if (who == INT32_MIN) {
    return -EINVAL;
  }
  return who < 0 ? set_owner(owner, F_OWNER_PGRP, -who) : set_owner(owner, F_OWNER_PID, who);
}

}  // namespace

long owner_control(File* file, int command, unsigned long argument) {
  FileOwner* owner = &file->owner;
  switch (command) {
    case F_SETOWN:
      return set_owner(owner, static_cast<int>(argument));
    case F_GETOWN:
      return owner->type == F_OWNER_PGRP ? -owner->id : owner->id;
    case F_SETOWN_EX: {
      struct f_owner_ex wanted;
      if (!get_in(&wanted, reinterpret_cast<const void*>(argument))) {
        return -EFAULT;
      }
      if (wanted.type < F_OWNER_TID || wanted.type > F_OWNER_PGRP) {
        return -EINVAL;
      }
      return set_owner(owner, wanted.type, wanted.pid);
    }
    case F_GETOWN_EX: {
      const struct f_owner_ex told = {static_cast<enum __pid_type>(owner->type), owner->id};
      return put_out(reinterpret_cast<void*>(argument), told) ? 0 : -EFAULT;
    }
    case F_GETSIG:
      return owner->signal;
    default:
      if (argument > kSignalMax) {
        return -EINVAL;
      }
      owner->signal = static_cast<int>(argument);
      return 0;
  }
}

long set_async(int fd, File* file, bool on) {
  const FileType type = file->ops->type;
  if (type != FileType::kTcp && type != FileType::kPair && type != FileType::kPipe) {
    return -ENOTTY;
  }
  file->status_flags = on ? file->status_flags | O_ASYNC : file->status_flags & ~O_ASYNC;
  // Of several dups the one through which it was asked for (fcntl(2), F_SETSIG: si_fd).
  file->owner.fd = fd;
  return 0;
}

void signal_owner(const File* file, int reason) {
  const FileOwner& owner = file->owner;
  if (owner.signal == 0) {
    return send(owner, plain(SIGIO));
  }
  siginfo_t info = {};
  info.si_signo = owner.signal;
  info.si_code = has_own_codes(owner.signal) ? SI_SIGIO : reason;
  info.si_band = band_of(reason);
  info.si_fd = owner.fd;
  send(owner, info);
}

void tell_owner_of_urgent(const File* file) {
  if (file->owner.id == 0) {
    return;
  }
  send(file->owner, plain(SIGURG));
  if (file->owner.signal != 0) {  // SIGIO would not tell it from other input
    tell_owner(file, POLL_PRI);
  }
}

}  // namespace ftrun::shim
