// SPDX-License-Identifier: Apache-2.0
// The second wall around a program: a filter of system calls (seccomp) that refuses what even the
// gate of the shim never asks the kernel for. The shim refuses these calls itself (table.def); this
// is for code that reaches the kernel beside it: a jump into the gate, a mistake of the shim. No
// sandbox: what is not named here is allowed.
//
// A filter outlives exec and is inherited by threads, so it only ever answers with an errno: a new
// image's loader, which runs before its shim, must not be killed. Copies of the process, the
// unwinder and CRIU work from outside it or with calls that are not named here: a filtered process
// can be dumped by whoever has CAP_SYS_ADMIN; --no-filter is for those who have not.
//
// The supervisor prepares it, the application's process puts it on just before its exec.
#pragma once

#include <errno.h>
#include <linux/filter.h>
#include <sys/syscall.h>

#include <vector>

#include "supervisor/base/result.h"

namespace ftrun::process {

// All answered with EPERM. Besides: ptrace other than PTRACE_TRACEME, which the shim needs before
// an exec, and clone with a flag for a namespace. (clone3 has its flags in memory, where no filter
// looks; what a new namespace would be good for is refused in there as well.)
inline constexpr int kWalledCalls[] = {
    // the host
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load,
    SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl, SYS_sethostname, SYS_setdomainname,
    SYS_settimeofday, SYS_clock_settime, SYS_iopl, SYS_ioperm, SYS_syslog, SYS_vhangup,
    // the pinned view of the world
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_unshare, SYS_setns, SYS_fsopen,
    SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_move_mount, SYS_open_tree, SYS_mount_setattr,
    SYS_open_by_handle_at, SYS_fanotify_init,
    // other processes
    SYS_process_vm_writev, SYS_pidfd_getfd, SYS_kcmp,
    // where the kernel would act behind the log's back
    SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_userfaultfd, SYS_bpf,
    SYS_perf_event_open, SYS_add_key, SYS_keyctl, SYS_request_key};

Result<std::vector<sock_filter>> build_call_wall();

// Puts it on: 0 or an errno. Needs CAP_SYS_ADMIN in the own user namespace. Plain system calls
// only.
int raise_call_wall(const sock_fprog& wall);

// Whether that can be done here, tried in a process of its own.
Result<void> probe_call_wall();

}  // namespace ftrun::process
