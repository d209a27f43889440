// SPDX-License-Identifier: Apache-2.0
// Standard output and error: what is written becomes output entries; nothing blocks.
// Runs in the application with the token held; no libc, no system calls.
#pragma once

#include "preload/net/file.h"

namespace ftrun::shim {

// `stream` is 1 or 2. The caller owns the reference.
File* console_create(int stream);
int console_stream(const File* console);

}  // namespace ftrun::shim
