// SPDX-License-Identifier: Apache-2.0
// The only instructions of the shim that touch memory which the application named: see guarded.h.
// Runs in the application (and in the tests of preload/net), in any context; needs no stack.
//
// A fault in here is no crash. The handler of SIGSEGV and SIGBUS knows by the instruction pointer
// alone where to go on (guarded.cc), so there is no table and nothing to set up beforehand:
//   begin .. careful   the quick copies: the registers with the arguments are untouched, and the
//                      copy starts over, byte by byte, at `careful`
//   careful .. rest    instructions with a count: %rcx is what is left, and the function ends
//   rest .. end        everything else: the function ends with -EFAULT
        .section .text.ftrun_guarded, "ax", @progbits
        .balign 64
        .globl  ftrun_guarded_begin, ftrun_guarded_careful, ftrun_guarded_rest, ftrun_guarded_end
        .hidden ftrun_guarded_begin, ftrun_guarded_careful, ftrun_guarded_rest, ftrun_guarded_end
        .globl  ftrun_guarded_count_left, ftrun_guarded_efault
        .hidden ftrun_guarded_count_left, ftrun_guarded_efault
        .macro  FUNCTION name
        .globl  \name
        .hidden \name
        .type   \name, @function
\name:
        .endm

// size_t ftrun_guarded_copy(void* to, const void* from, size_t n): how many bytes are left
// PERF: overlapping moves without a loop up to 32 bytes, as the shim's memcpy.
ftrun_guarded_begin:
        FUNCTION ftrun_guarded_copy
        cmpq    $16, %rdx
        jb      1f
        cmpq    $32, %rdx
        ja      4f
        movups  (%rsi), %xmm0
        movups  -16(%rsi,%rdx), %xmm1
        movups  %xmm0, (%rdi)
        movups  %xmm1, -16(%rdi,%rdx)
        xorl    %eax, %eax
        ret
1:      cmpl    $8, %edx
        jb      2f
        movq    (%rsi), %rax
        movq    -8(%rsi,%rdx), %rcx
        movq    %rax, (%rdi)
        movq    %rcx, -8(%rdi,%rdx)
        xorl    %eax, %eax
        ret
2:      cmpl    $4, %edx
        jb      3f
        movl    (%rsi), %eax
        movl    -4(%rsi,%rdx), %ecx
        movl    %eax, (%rdi)
        movl    %ecx, -4(%rdi,%rdx)
        xorl    %eax, %eax
        ret
3:      testl   %edx, %edx
        jnz     ftrun_guarded_careful
        xorl    %eax, %eax
        ret
4:      cmpq    $512, %rdx
        ja      ftrun_guarded_careful
        movups  -16(%rsi,%rdx), %xmm1
        leaq    -16(%rdx), %rax
        xorl    %ecx, %ecx
5:      movups  (%rsi,%rcx), %xmm0
        movups  %xmm0, (%rdi,%rcx)
        addq    $16, %rcx
        cmpq    %rax, %rcx
        jb      5b
        movups  %xmm1, -16(%rdi,%rdx)
        xorl    %eax, %eax
        ret
ftrun_guarded_careful:
        movq    %rdx, %rcx
        rep movsb
        movq    %rcx, %rax
        ret

// size_t ftrun_guarded_clear(void* to, size_t n): how many bytes are left
        FUNCTION ftrun_guarded_clear
        movq    %rsi, %rcx
        xorl    %eax, %eax
        rep stosb
        movq    %rcx, %rax
        ret
ftrun_guarded_rest:

// long ftrun_guarded_string(char* to, const char* from, size_t n): length without the final NUL, n
// if there is none in n bytes
        FUNCTION ftrun_guarded_string
        xorl    %eax, %eax
6:      cmpq    %rdx, %rax
        jae     7f
        movzbl  (%rsi,%rax), %ecx
        movb    %cl, (%rdi,%rax)
        testb   %cl, %cl
        jz      7f
        addq    $1, %rax
        jmp     6b
7:      ret

// long ftrun_guarded_exchange(uint32_t* word, uint32_t* expected, uint32_t desired): 1 if it was as
// expected and has been exchanged, else 0 and `*expected` is what it is
        FUNCTION ftrun_guarded_exchange
        movl    (%rsi), %eax
        lock cmpxchgl %edx, (%rdi)
        movl    %eax, (%rsi)
        sete    %al
        movzbl  %al, %eax
        ret
ftrun_guarded_end:

ftrun_guarded_count_left:
        movq    %rcx, %rax
        ret
ftrun_guarded_efault:
        movq    $-14, %rax
        ret

        .section .note.GNU-stack, "", @progbits
