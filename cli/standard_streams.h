// SPDX-License-Identifier: Apache-2.0
// Standard streams of a tool that are closed, full or broken. Runs in ftrun and ftctl, before and
// beside everything else that they do.
#pragma once

#include <string_view>

namespace ftrun::cli {

// Puts something in the place of descriptors 0 to 2 that are closed: the next files to be opened
// would stand there, and get what is said. Call it first.
void fill_standard_descriptors();

// Text of a tool that has nothing else to do: waits for the reader, and never fails (fmt::print
// throws). Whether it all arrived is seen by flush_output().
void print(std::string_view text);
void print_error(std::string_view text);

// Whether standard output took everything; else says so on standard error.
bool flush_output(const char* tool);

}  // namespace ftrun::cli
