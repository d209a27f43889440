// SPDX-License-Identifier: Apache-2.0
// Files in state directories have a copy in each replica, with inode numbers and times of its own.
// What the application sees must survive a promotion: inode numbers are the shim's, given in order
// of first sight; a replica's copy takes over the modification time that the application saw.
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

#include <stdint.h>
#include <sys/stat.h>

namespace ftrun::shim {

// The device number of all state files.
inline constexpr uint64_t kStateDevice = 0x4654;

// Primary: replaces device and inode of what the kernel said about a state file.
void identity_hide(struct stat* about);
// Secondary: `seen` is what the application is told, `own` what the kernel says of this replica's
// copy: remembers that they are the same file.
void identity_learn(const struct stat& seen, const struct stat& own);

}  // namespace ftrun::shim
