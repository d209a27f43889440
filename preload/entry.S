// SPDX-License-Identifier: Apache-2.0
// The ways into and out of the shim: the gate to the kernel, the PLT and vDSO stubs and the thread
// start. Runs in the application.
//
// Rule: no C++ code of the shim runs on an application stack (its residue would differ between
// replicas, and stacks may be tiny). Each way in switches to the thread's shim stack first.
#include "preload/forget.inc"
#include "preload/layout.h"

// ---- the gate: copied to FTRUN_GATE_ADDRESS; position independent -------------------------------
        .section .rodata
        .balign 64
        .globl  ftrun_gate_begin, ftrun_gate_end
        .hidden ftrun_gate_begin, ftrun_gate_end
ftrun_gate_begin:
// Entered by a jump with the kernel's registers and the way back in %r12 (raw.h). For a clone the
// SIGSYS handler's return leads here, with all other registers as the application set them; both
// threads continue in ftrun_clone_return, and the parent's own %r12 is put back from its Thread.
        syscall
        jmp     *%r12
        .org    ftrun_gate_begin + FTRUN_RESTORER_OFFSET
// The end of the shim's own signal handlers. Unwinders know a signal frame by exactly these bytes
// (48 c7 c0 0f 00 00 00 0f 05).
        movq    $15, %rax
        syscall
ftrun_gate_end:

        .text
// Both sides of a clone arrive here: %rax = 0 in the child.
        .globl  ftrun_clone_return
        .hidden ftrun_clone_return
        .type   ftrun_clone_return, @function
ftrun_clone_return:
        testq   %rax, %rax
        jz      1f
        movq    ftrun_self@gottpoff(%rip), %r11
        movq    %fs:(%r11), %r11
        // Parent: hand over to C++ on the shim stack; it returns through FTRUN_NR_RESUME.
        movq    %rsp, %rcx
        movq    FTRUN_THREAD_STACK(%r11), %rsp
        movq    %rax, %rdi
        call    shim_clone_parent
        ud2
1:      // Child: %rsp is the stack that the application gave it.
        movq    ftrun_clone_child@GOTPCREL(%rip), %r11
        movq    (%r11), %rdi
        movq    FTRUN_THREAD_STACK(%rdi), %rsp
        call    shim_clone_child
        ud2

// ---- calls through the PLT ----------------------------------------------------------------------
// %eax = number, arguments in C ABI registers.
        .macro  ENTRY name, sets_errno
        .globl  \name
        .hidden \name
        .type   \name, @function
\name:
        .cfi_startproc
        movq    ftrun_self@gottpoff(%rip), %r11
        movq    %fs:(%r11), %r10
        testq   %r10, %r10
        jz      9f
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_offset %rbx, -16
        movq    %rsp, %rbx
        .cfi_def_cfa_register %rbx
        movq    %rsp, FTRUN_THREAD_CALLER_STACK(%r10)
        movq    FTRUN_THREAD_STACK(%r10), %rsp
        subq    $8, %rsp
        pushq   %rax
        pushq   %r9
        pushq   %r8
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        movl    %eax, %edi
        movq    %rsp, %rsi
        movq    %r10, %rdx
        call    shim_dispatch
        movq    ftrun_self@gottpoff(%rip), %r11
        movq    %fs:(%r11), %r10
        movl    FTRUN_THREAD_DELIVER(%r10), %ecx
        movq    %rbx, %rsp
        popq    %rbx
        .cfi_def_cfa %rsp, 8
        .cfi_restore %rbx
        FORGET
        testl   %ecx, %ecx
        jnz     4f
3:      .if     \sets_errno
        cmpq    $-4095, %rax
        jae     2f
        .endif
        ret
4:      // A signal is due. What the handler interrupts is this place, as if the call were made here;
        // the trap has all registers at hand (start.cc: deliver_after_call).
        leaq    \name(%rip), %rdi
        movl    $FTRUN_NR_DELIVER, %eax
        syscall
        jmp     3b
9:      // Not initialised yet (or a thread that the shim does not know): plain system call.
        movq    %rcx, %r10
        syscall
        .if     \sets_errno
        cmpq    $-4095, %rax
        jae     2f
        ret
2:      negl    %eax
        pushq   %rax
        .cfi_adjust_cfa_offset 8
        call    *__errno_location@GOTPCREL(%rip)
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        movl    %ecx, (%rax)
        movq    $-1, %rax
        .endif
        ret
        .cfi_endproc
        .endm

// Two bodies rather than one that calls the other: a return less (raw.h says why that counts).
        ENTRY   shim_entry, 1       // result: the value, or -1 and errno
        ENTRY   shim_entry_raw, 0   // result: the value, or -errno, as of the vDSO's functions

// ---- the constructor ----------------------------------------------------------------------------
// void ftrun_on_stack(void* top, void (*function)(void*), void* argument)
        .globl  ftrun_on_stack
        .hidden ftrun_on_stack
        .type   ftrun_on_stack, @function
ftrun_on_stack:
        pushq   %rbx
        movq    %rsp, %rbx
        movq    %rdi, %rsp
        movq    %rdx, %rdi
        call    *%rsi
        movq    %rbx, %rsp
        popq    %rbx
        ret

// ---- libc names ---------------------------------------------------------------------------------
        .macro  STUB name, number
        .globl  \name
        .type   \name, @function
        .balign 16
\name:  movl    $\number, %eax
        jmp     shim_entry
        .size   \name, . - \name
        .endm
        .macro  VDSO name, number
        .globl  \name
        .hidden \name
        .type   \name, @function
        .balign 16
\name:  movl    $\number, %eax
        jmp     shim_entry_raw
        .endm

        STUB    read, 0
        STUB    __read_chk, 0
        STUB    write, 1
        STUB    close, 3
        STUB    poll, 7
        STUB    __poll_chk, 7
        STUB    ioctl, 16
        STUB    readv, 19
        STUB    writev, 20
        STUB    select, 23
        STUB    sendfile, 40
        STUB    sendfile64, 40
        STUB    accept, 43
        STUB    sendto, 44
        STUB    recvfrom, 45
        STUB    sendmsg, 46
        STUB    recvmsg, 47
        STUB    shutdown, 48
        STUB    getsockname, 51
        STUB    getpeername, 52
        STUB    setsockopt, 54
        STUB    getsockopt, 55
        STUB    fcntl, 72
        STUB    fcntl64, 72
        STUB    gettimeofday, 96
        STUB    __gettimeofday, 96
        STUB    time, 201
        STUB    clock_gettime, 228
        STUB    __clock_gettime, 228
        STUB    epoll_wait, 232
        STUB    epoll_ctl, 233
        STUB    accept4, 288
        STUB    getrandom, 318

        .globl  recv
        .type   recv, @function
recv:   xorl    %r8d, %r8d
        xorl    %r9d, %r9d
        movl    $45, %eax
        jmp     shim_entry
        .globl  send
        .type   send, @function
send:   xorl    %r8d, %r8d
        xorl    %r9d, %r9d
        movl    $44, %eax
        jmp     shim_entry
        .globl  __recv_chk
        .type   __recv_chk, @function
__recv_chk:
        movq    %r8, %rcx
        jmp     recv

        VDSO    ftrun_vdso_clock_gettime, 228
        VDSO    ftrun_vdso_gettimeofday, 96
        VDSO    ftrun_vdso_time, 201
        VDSO    ftrun_vdso_clock_getres, 229
        VDSO    ftrun_vdso_getcpu, 309
        VDSO    ftrun_vdso_getrandom, 0x36540001

        .section .note.GNU-stack, "", @progbits
