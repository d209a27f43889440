// SPDX-License-Identifier: Apache-2.0
// Where ftrun's own words and the program's console go: standard output and standard error, which
// may be closed, full, a broken pipe, or a pipe that nobody reads. None of that may cost more than
// the words: whoever puts text in here neither waits nor fails. Runs in ftrun.
//
// A thread per outlet writes, because a write to a pipe or terminal may wait for its reader for
// ever, and making the descriptor non-blocking would change it for everybody who shares it. Two
// descriptors of one file have one outlet, so that the order between them is kept.
#pragma once

#include <cstdio>
#include <memory>
#include <string_view>

namespace ftrun::cli {

// Text that waits for its reader; what is put in beyond is lost.
inline constexpr size_t kOutletBytesMax = 1 << 20;

class Outlet {
 public:
  Outlet();
  // Takes over `text` for descriptor `fd`.
  void put(int fd, std::string_view text);
  // Bytes that are not written yet.
  size_t waiting() const;
  // Why text could not be written, if it is news: an errno, or 0. That a reader has left is none.
  int take_error();
  // Waits until everything is written, or nothing has been for `patience_ms`. Returns how many
  // bytes still wait.
  size_t settle(int patience_ms);

 private:
  struct Shared;
  std::shared_ptr<Shared>
      shared_;  // with the writing thread, which may wait in the kernel for ever
};

// That of standard output (1) or standard error (2).
Outlet& outlet(int stream);

// A line of ftrun's own on standard error: "ftrun: text".
void say(std::string_view text);

// At the end: waits for the readers, a little. Returns the bytes of standard output that nobody has
// read.
size_t settle_outlets();

}  // namespace ftrun::cli
