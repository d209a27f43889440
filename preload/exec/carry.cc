// SPDX-License-Identifier: Apache-2.0
// See carry.h. Runs in the application with the token held; no libc.
#include "preload/exec/carry.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "preload/doors.h"
#include "preload/net/console.h"
#include "preload/net/descriptors.h"
#include "preload/raw.h"

namespace ftrun::shim {
namespace {

// Behind the rings, at an address that the shims of both images know; mapped only around an exec.
constexpr uint64_t kAreaAddress = kRegionAddress + carried_map_offset();

// The system call that began the exec under way.
long exec_number = 0;

void map_area() {
  const long address =
      raw(__NR_mmap, kAreaAddress, kCarriedBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
          doors_control()->doorbell_fd - 1, carried_file_offset());
  if (address != static_cast<long>(kAreaAddress)) {
    shim_fail("the shared region cannot be mapped for an exec", address);
  }
}

// One descriptor that the new image inherits.
struct Inherited {
  int32_t fd = -1;  // -1: no more
  FdKind kind = FdKind::kFree;
  uint8_t native_class = 0;
  uint32_t description = 0;
  int32_t stream = 0;  // virtual: which console, and the state of its open file
  int32_t status_flags = 0;
  uint64_t inode = 0;
};

bool closes_at_exec(int fd) {
  const long flags =
      fd_kind(fd) == FdKind::kVirtual ? net_fcntl(fd, F_GETFD, 0) : raw(__NR_fcntl, fd, F_GETFD, 0);
  return flags < 0 || (flags & FD_CLOEXEC) != 0;
}

void save_descriptors(Carry& carry) {
  for (int fd = 0; fd < kDescriptorsMax; ++fd) {
    Inherited item = {fd, fd_kind(fd)};
    if (item.kind == FdKind::kFree) {
      continue;
    }
    const bool closes = closes_at_exec(fd);
    if (item.kind == FdKind::kVirtual) {
      // What holds a virtual number in the kernel's table goes or stays with it.
      raw(__NR_fcntl, fd, F_SETFD, closes ? FD_CLOEXEC : 0);
    }
    // Native ones are closed by the kernel, at the same moment as in the program without a shim.
    if (closes) {
      continue;
    }
    if (const File* file = virtual_file(fd)) {
      item.stream = console_stream(file);
      item.status_flags = file->status_flags;
      item.inode = file->inode;
    } else {
      item.native_class = fd_native_class(fd);
      item.description = fd_description(fd);
    }
    carry.value(item);
  }
  Inherited end;
  carry.value(end);
}

// The open file with this inode number: two descriptors may share it.
File* restored_file(const Inherited& item) {
  for (int fd = 0; fd < item.fd; ++fd) {
    File* file = virtual_file(fd);
    if (file != nullptr && file->inode == item.inode) {
      file_retain(file);
      return file;
    }
  }
  File* file = console_create(item.stream);
  file->status_flags = item.status_flags;
  file->inode = item.inode;
  return file;
}

void restore_descriptors(Carry& carry) {
  descriptors_init();
  for (;;) {
    Inherited item;
    carry.value(item);
    if (item.fd < 0) {
      return;
    }
    if (item.kind == FdKind::kVirtual) {
      fd_set_virtual(item.fd, restored_file(item), false);
    } else {
      fd_restore_native(item.fd, item.native_class, item.description);
    }
  }
}

void carry_thread(Carry& carry) {
  Thread* thread = self();
  // Records name calls by counting them from the last record; the count goes on, so the record of
  // the exec's success names the call that the old image made.
  carry.value(thread->calls);
  carry.value(thread->calls_at_record);
  carry.value(thread->mask);
}

// The order is the format. Both images are given the same library, so it needs no version.
void carry_all(Carry& carry) {
  carry.value(exec_number);
  doors_carry(carry);
  carry_thread(carry);
  signals_carry(carry);
  pending_carry(carry);
  alarm_carry(carry);
  identity_carry(carry);
  tcp_carry(carry);
  time_carry(carry);
  limits_carry(carry);
  prctl_carry(carry);
  carry.saves() ? save_descriptors(carry) : restore_descriptors(carry);
  inodes_carry(carry);  // ORDER: after the descriptors, which take numbers when they are made
}

Carry carry_of(Carry::Way way) {
  return {way, reinterpret_cast<uint8_t*>(kAreaAddress), kCarriedBytes};
}

}  // namespace

bool carry_save(long call_number) {
  exec_number = call_number;
  map_area();
  Carry carry = carry_of(Carry::Way::kSave);
  carry_all(carry);
  return carry.fits();
}

void carry_restore() {
  map_area();
  Carry carry = carry_of(Carry::Way::kRestore);
  carry_all(carry);
}

void exec_succeeded() {
  // Not doors_decide(): the old image has settled who decides. A secondary has seen the record
  // before it went through the exec, so it is there.
  if (doors_are_live()) {
    doors_log_choice(exec_number, 0, nullptr, 0);
  } else {
    doors_replay_choice(exec_number, nullptr, 0);
  }
}

}  // namespace ftrun::shim
