// SPDX-License-Identifier: Apache-2.0
// The table of descriptor numbers, and the calls that work on numbers: close, dup, fcntl.
// Runs in the application with the token held; no libc, no system calls of its own.
#include "preload/net/descriptors.h"

#include "preload/net/console.h"
#include "preload/net/constant_names.h"
#include "preload/net/owner.h"
#include "preload/net/pipe.h"

namespace ftrun::shim {
namespace {

// What the shim knows of a number. The kernel knows as much: a virtual number is held there by a
// placeholder (placeholders.cc), a native one is the file itself. So the lowest free number is the
// kernel's answer, and the same in every replica.
struct Slot {
  File* file;
  FdKind kind;
  uint8_t native_class;
  bool close_on_exec;
  uint32_t description;  // native only
};

constinit Slot* g_slots = nullptr;
// Never given twice: a lock is owned by the description (net/lock.h), and whoever got an old number
// would get the old one's locks. 0 is none.
constinit uint32_t g_descriptions = 0;
constinit int g_fd_max = 0;  // of all numbers so far: bounds the searches below

Slot* slot_of(int fd) {
  return fd >= 0 && fd < kDescriptorsMax && g_slots != nullptr ? &g_slots[fd] : nullptr;
}

Slot* virtual_slot(int fd) {
  Slot* slot = slot_of(fd);
  return slot != nullptr && slot->kind == FdKind::kVirtual ? slot : nullptr;
}

void set_virtual(int fd, File* file, bool close_on_exec) {
  Slot* slot = slot_of(fd);
  if (slot == nullptr) {
    shim_fail("descriptor number beyond the table", fd);
  }
  File* before = slot->kind == FdKind::kVirtual ? slot->file : nullptr;
  // ORDER: the number leads to the new file before the old one goes. A release notifies, and who
  // looks at the number then must not find an object that is being given back.
  *slot = Slot{file, FdKind::kVirtual, 0, close_on_exec, 0};
  g_fd_max = fd > g_fd_max ? fd : g_fd_max;
  if (before != nullptr) {
    file_release(before);
  }
}

// F_SETFL changes these and leaves the rest.
constexpr int kSettableFlags = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;

long set_status_flags(int fd, File* file, int flags) {
  if ((flags & O_DIRECT) != 0 && file->ops->type != FileType::kPipe) {
    return -EINVAL;
  }
  if (((flags ^ file->status_flags) & O_ASYNC) != 0) {
    set_async(fd, file, (flags & O_ASYNC) != 0);  // what has no signals ignores it
  }
  file->status_flags = (file->status_flags & ~kSettableFlags) | (flags & kSettableFlags);
  return 0;
}

}  // namespace

FdKind fd_kind(int fd) {
  const Slot* slot = slot_of(fd);
  return slot != nullptr ? slot->kind : FdKind::kFree;
}

void fd_set_native(int fd, uint8_t native_class, bool close_on_exec) {
  Slot* slot = slot_of(fd);
  if (slot == nullptr) {
    shim_fail("descriptor number beyond the table", fd);
  }
  File* before = slot->kind == FdKind::kVirtual ? slot->file : nullptr;
  *slot = Slot{nullptr, FdKind::kNative, native_class, close_on_exec, ++g_descriptions};
  g_fd_max = fd > g_fd_max ? fd : g_fd_max;
  if (before != nullptr) {  // dup2 of a file over a virtual number
    file_release(before);
  }
}

uint8_t fd_native_class(int fd) {
  const Slot* slot = slot_of(fd);
  return slot != nullptr && slot->kind == FdKind::kNative ? slot->native_class : 0;
}

uint32_t fd_description(int fd) {
  const Slot* slot = slot_of(fd);
  return slot != nullptr ? slot->description : 0;
}

void fd_share_description(int fd, int other) {
  slot_of(fd)->description = fd_description(other);
}

// Whether a dup is left. Goes through all numbers: asked only at a close while the unit holds a
// lock.
bool fd_description_is_open(uint32_t description) {
  for (int fd = 0; fd <= g_fd_max; ++fd) {
    if (g_slots[fd].description == description) {
      return true;
    }
  }
  return false;
}

void fd_clear_native(int fd) {
  Slot* slot = slot_of(fd);
  if (slot != nullptr && slot->kind == FdKind::kNative) {
    *slot = Slot{};
  }
}

File* virtual_file(int fd) {
  const Slot* slot = virtual_slot(fd);
  return slot != nullptr ? slot->file : nullptr;
}

File* socket_file(int fd, long* error) {
  const Slot* slot = slot_of(fd);
  if (slot == nullptr || slot->kind == FdKind::kFree) {
    *error = -EBADF;
    return nullptr;
  }
  if (slot->kind == FdKind::kNative || !is_socket(slot->file)) {
    *error = -ENOTSOCK;
    return nullptr;
  }
  return slot->file;
}

long install_file(File* file, int at_least, bool close_on_exec) {
  const int fd = hold_descriptor(at_least);
  if (fd >= 0) {
    set_virtual(fd, file, close_on_exec);
  }
  return fd;
}

void fd_set_virtual(int fd, File* file, bool close_on_exec) {
  set_virtual(fd, file, close_on_exec);
}

int fd_number_of(const File* file, int but) {
  int fd = g_fd_max;
  while (fd >= 0 && (g_slots[fd].file != file || fd == but)) {
    --fd;
  }
  return fd;
}

// The count goes on above what the old image has given: a file that the new one opens is not one
// that it inherited.
void fd_restore_native(int fd, uint8_t native_class, uint32_t description) {
  fd_set_native(fd, native_class, false);
  g_slots[fd].description = description;
  g_descriptions = description > g_descriptions ? description : g_descriptions;
}

void descriptors_init() {
  if (g_slots == nullptr) {
    g_slots = static_cast<Slot*>(arena_alloc(sizeof(Slot) * kDescriptorsMax, alignof(Slot)));
  }
}

void net_init() {
  descriptors_init();
  for (int stream = 1; stream <= 2; ++stream) {
    set_virtual(stream, console_create(stream), false);
  }
}

long net_close(int fd) {
  Slot* slot = virtual_slot(fd);
  if (slot == nullptr) {
    return -EBADF;
  }
  File* file = slot->file;
  // ORDER: last_close while the number still leads to the kernel's file, which a named pipe reads
  // from once more. Then the slot before the number, so that the table never says of a number that
  // the kernel may give away that it is virtual. The release comes last: it may wake others, for
  // whom the number is closed by then.
  if (file->references == 1 && file->ops->last_close != nullptr) {
    file->ops->last_close(file, fd);
  }
  *slot = Slot{};
  release_descriptor(fd);
  file_release(file);
  return 0;
}

long net_dup(int old_fd, int at_least, int at, bool close_on_exec) {
  File* file = virtual_file(old_fd);
  if (file == nullptr) {
    return -EBADF;
  }
  if (at < 0) {
    // EINVAL for a floor beyond the limit (fcntl(2)), EBADF for a number beyond it (dup2(2)).
    if (at_least < 0 || at_least >= descriptor_limit()) {
      return -EINVAL;
    }
    // The table's reference. Given back by hand where there is no number, since the table has not
    // taken it then.
    file_retain(file);
    const long fd = install_file(file, at_least, close_on_exec);
    if (fd < 0) {
      file_release(file);
    }
    return fd;
  }
  if (at >= descriptor_limit() || at >= kDescriptorsMax) {
    return -EBADF;
  }
  if (at == old_fd) {
    return at;
  }
  const int error = hold_descriptor_at(at);
  if (error < 0) {
    return error;
  }
  file_retain(file);
  set_virtual(at, file, close_on_exec);
  return at;
}

long net_fcntl(int fd, int command, unsigned long argument) {
  Slot* slot = virtual_slot(fd);
  if (slot == nullptr) {
    return -EBADF;
  }
  File* file = slot->file;
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      return argument > INT32_MAX
                 ? -EINVAL
                 : net_dup(fd, static_cast<int>(argument), -1, command == F_DUPFD_CLOEXEC);
    // Close-on-exec belongs to the number, the others to the open file and so to all its dups
    // (fcntl(2)).
    case F_GETFD:
      return slot->close_on_exec ? FD_CLOEXEC : 0;
    case F_SETFD:
      slot->close_on_exec = (argument & FD_CLOEXEC) != 0;
      return 0;
    case F_GETFL:
      return file->status_flags;
    case F_SETFL:
      return set_status_flags(fd, file, static_cast<int>(argument));
    case F_GETOWN:
    case F_SETOWN:
    case F_GETOWN_EX:
    case F_SETOWN_EX:
    case F_GETSIG:
    case F_SETSIG:
      return owner_control(file, command, argument);
    // Leases are of regular files: there is never one here (fs/locks.c).
    case F_GETLEASE:
      return F_UNLCK;
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
      return pipe_capacity(file, command == F_SETPIPE_SZ, argument);
    default:
      Notice()
          .text("fcntl(")
          .constant(name_of_fcntl(command), command)
          .text(") answered EINVAL: not supported on sockets and pipes")
          .emit();
      return -EINVAL;
  }
}

}  // namespace ftrun::shim
