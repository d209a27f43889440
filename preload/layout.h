// SPDX-License-Identifier: Apache-2.0
// Fixed addresses and offsets of the shim, shared by C++ and assembly. They are the same in every
// replica and in every process, so that pointers are equal.
#pragma once

// One page that holds the only syscall instructions that enter the kernel directly: that of
// the gate, and that by which the shim's own signal handlers return.
#define FTRUN_GATE_ADDRESS 0x70000000
#define FTRUN_GATE_BYTES 4096
#define FTRUN_RESTORER_OFFSET 64
#define FTRUN_RESTORER_ADDRESS (FTRUN_GATE_ADDRESS + FTRUN_RESTORER_OFFSET)
// The shim's own memory: threads, stacks, sockets. Mapped step by step as it is needed, so that it
// takes little of an address-space limit (RLIMIT_AS) that the application has.
#define FTRUN_ARENA_ADDRESS 0x200000000000
#define FTRUN_ARENA_BYTES 0x1000000000  // 64 GiB at most
#define FTRUN_ARENA_STEP_BYTES 0x2000000

// Offsets in struct Thread that assembly uses (checked by static_assert in thread.h).
#define FTRUN_THREAD_STACK 0
#define FTRUN_THREAD_DELIVER 8
#define FTRUN_THREAD_CALLER_STACK 16

// Numbers that no kernel uses, for what needs a trap: to set all registers (a thread's first ones),
// and to start a handler at the end of a call that came through the PLT.
#define FTRUN_NR_RESUME 0x36540000
#define FTRUN_NR_DELIVER 0x36540002
