// SPDX-License-Identifier: Apache-2.0
// A crash of the application (a fault, or abort) while its handlers still run. What the crashing
// turn has read must not reach another replica (DESIGN section 9): from the crash on no turn ends.
// The shared region names the connection that the crashed thread read in this turn, if it read one:
// the suspect. Runs in the application, by the token's holder; no libc.
#pragma once

#include <stdint.h>

namespace ftrun::shim {

// Turns are counted: what was read in an earlier one has been shipped already.
void note_turn_end();

// The thread has crashed by `signal`; its handler, if it has one, runs on the `stack_bytes` below
// `handler_stack`: who calls from elsewhere has left the handler. Nothing if no request causes such
// a signal, if this replica is a secondary, or if it is dying already.
void dying_begin(int signal, uint64_t handler_stack, uint64_t stack_bytes);
// The handler that began there has returned: the application goes on after all.
void dying_end(uint64_t handler_stack);
// A crash has begun, and its handler has neither returned nor been left by a jump.
bool is_dying();
// For the places where a dying application would have to wait or to log its exit.
void die_if_dying();

// Calls that come between a request and the crash that it causes (abort): no turn is cut there, or
// what was read would be shipped at the last moment.
bool leads_to_crash(long number);

// Dies of `number` natively, so that the wait status is the true one.
[[noreturn]] void die_of(int number);

}  // namespace ftrun::shim
