// SPDX-License-Identifier: Apache-2.0
// Build tool: writes the seccomp filter of the shim as a C array. The policy comes from libseccomp;
// what that cannot express, a check of the instruction pointer against the gate page, is prefixed
// by hand (BPF jumps are relative, so the exported program stays valid). Both halves of the pointer
// are compared. Runs at build time only.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "preload/layout.h"

namespace {

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::vector<sock_filter> policy() {
  scmp_filter_ctx context = seccomp_init(SCMP_ACT_TRAP);
  if (context == nullptr) {
    die("seccomp_init");
  }
  // Calls of the i386 and x32 ABIs trap too, so that they are refused by name.
  if (seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_TRAP) != 0) {
    die("seccomp_attr_set");
  }
  int pipe_fds[2];
  if (pipe(pipe_fds) != 0 || seccomp_export_bpf(context, pipe_fds[1]) != 0) {
    die("seccomp_export_bpf");
  }
  close(pipe_fds[1]);
  std::vector<sock_filter> program;
  sock_filter instruction;
  while (read(pipe_fds[0], &instruction, sizeof(instruction)) == sizeof(instruction)) {
    program.push_back(instruction);
  }
  seccomp_release(context);
  return program;
}

}  // namespace

int main() {
  const unsigned low_offset = offsetof(seccomp_data, instruction_pointer);
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low_offset + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low_offset),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FTRUN_GATE_ADDRESS, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FTRUN_GATE_ADDRESS + FTRUN_GATE_BYTES, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const std::vector<sock_filter> rest = policy();
  program.insert(program.end(), rest.begin(), rest.end());
  std::printf("// Made by make_filter.cc: gate check, then the policy that libseccomp exported.\n");
  for (const sock_filter& i : program) {
    std::printf("{0x%x, %u, %u, 0x%x},\n", i.code, i.jt, i.jf, i.k);
  }
  return 0;
}
