// SPDX-License-Identifier: Apache-2.0
// See vdso.cc. Runs in the application, once, at start.
#pragma once

#include <stdint.h>

namespace ftrun::shim {

// `image`: AT_SYSINFO_EHDR, or 0 when there is no vDSO. Stops the process if it cannot be patched.
void vdso_patch(uint64_t image);

}  // namespace ftrun::shim
