// SPDX-License-Identifier: Apache-2.0
// Fixed addresses and offsets of the shim, shared by C++ and assembly. They are the same in every
// replica and in every process, so that the seccomp filter is a constant and pointers are equal.
#pragma once

// One page that holds the only syscall instructions allowed to enter the kernel directly.
#define FTRUN_GATE_ADDRESS 0x70000000
#define FTRUN_GATE_BYTES 4096
// The shim's own memory: threads, stacks, sockets. Reserved at start, touched as needed.
#define FTRUN_ARENA_ADDRESS 0x200000000000
#define FTRUN_ARENA_BYTES 0x1000000000  // 64 GiB of address space

// Offsets in struct Thread that assembly uses (checked by static_assert in thread.h).
#define FTRUN_THREAD_STACK 0
#define FTRUN_THREAD_DELIVER 8
#define FTRUN_THREAD_RESTART 12
#define FTRUN_THREAD_CALLER_STACK 16

// Signal frame that the shim builds on the application's stack: siginfo, ucontext, bookkeeping.
#define FTRUN_FRAME_SIGINFO 0
#define FTRUN_FRAME_UCONTEXT 128
#define FTRUN_FRAME_STATE 1152
#define FTRUN_FRAME_BYTES 1280

// A number that no kernel uses: the end of a signal handler that interrupted a trapped call.
#define FTRUN_NR_RESUME 0x36540000
