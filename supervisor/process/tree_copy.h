// SPDX-License-Identifier: Apache-2.0
// Copies a directory tree so that a server cannot tell the copy from the original: modes, owners,
// times, symbolic and hard links, extended attributes, holes. Data is shared with the original
// where the file system can (FICLONE). Runs in the supervisor before its application is started.
#pragma once

#include <string>

#include "supervisor/base/result.h"

namespace ftrun::process {

// REQUIRES: nothing changes `source` meanwhile. `target` must not exist; on failure what was made
// of it is removed again. Refuses mount points inside the tree, and what it cannot reproduce.
Result<void> copy_tree(const std::string& source, const std::string& target);

// Removes a tree; one that is not there is no error.
Result<void> remove_tree(const std::string& path);

}  // namespace ftrun::process
