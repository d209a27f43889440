// SPDX-License-Identifier: Apache-2.0
// What a call answers that would change something outside the state directories. Where it would
// have failed anyway (mkdir of what exists, open of what does not) the program gets that error, in
// the kernel's order of checks (fs/namei.c); only where something would have been written does it
// get EROFS, as on a file system mounted read-only, and the unit's events say so.
// Runs in the application on the shim's stack with the token held; no libc.
#pragma once

namespace ftrun::shim {

enum class Change {
  kCreate,           // mkdir, symlink, the new name of a link: EEXIST
  kRemoveFile,       // unlink: EISDIR
  kRemoveDirectory,  // rmdir: ENOTDIR
  kAlter,            // chmod, chown, utimensat, a rename's old name: what links lead to
  kAlterLink,        // the same, of the link itself
  kCut,              // truncate: EISDIR
};

// The error of such a call; never 0. A choice of the call `number`.
long refuse_change(long number, int directory_fd, const char* path, Change change);
// -EXDEV for a rename or link of which one name only is under a state directory, unless one of them
// is wrong for another reason.
long refuse_across(long number, int old_fd, const char* old_path, int new_fd, const char* new_path);

// The same for an open that would write: the error, or 0 if it would not (O_CREAT of a file that is
// there, opened to be read), or this, if it may go on for another reason:
inline constexpr long kOpensFifo = 2;
long refuse_open(int directory_fd, const char* path, long flags);

}  // namespace ftrun::shim
