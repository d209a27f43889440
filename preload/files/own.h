// SPDX-License-Identifier: Apache-2.0
// Paths that name what belongs to this very process: its descriptors (/dev/stdout, /dev/fd/1,
// /proc/self/fd/1), and what it may write about itself under /proc.
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

#include <stddef.h>

namespace ftrun::shim {

// The descriptor number that `absolute` (normalised) names; -1: none. Whether there is such a
// descriptor is another question.
int own_descriptor(const char* absolute);
// The same where the name is a link of /proc itself, and not one that leads there (/dev/stdout).
int own_descriptor_link(const char* absolute);

// What every replica may write of itself, natively: names of threads (comm), oom_score_adj and the
// like. They act on this process alone.
bool is_own_attribute(const char* absolute);

// Follows symbolic links at the end of `absolute` (kPathBytesMax bytes) as open(2) does, up to the
// name of an own descriptor. A choice: links outside may change.
void follow_links(char* absolute);

}  // namespace ftrun::shim
