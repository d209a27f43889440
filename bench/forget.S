// SPDX-License-Identifier: Apache-2.0
// A function that does nothing, and one that clears registers as the shim's stubs do at their end.
#include "preload/forget.inc"
        .text
        .globl  bench_nothing, bench_forget
        .type   bench_nothing, @function
        .type   bench_forget, @function
bench_nothing:
        ret
bench_forget:
        FORGET
        ret
        .section .note.GNU-stack, "", @progbits
