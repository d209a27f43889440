// SPDX-License-Identifier: Apache-2.0
// execve and execveat. Runs in the application on the shim's stack with the token held; no libc.
#include <errno.h>

#include "preload/calls.h"
#include "preload/files/paths.h"
#include "preload/raw.h"
#include "preload/start.h"
#include "preload/text.h"

namespace ftrun::shim {

long do_execve(long number, const long* a) {
  const Path path(number == __NR_execve ? a[0] : a[1]);
  if (path.error() != 0) {
    return path.error();
  }
  Text text;
  text.add(call_name(number))
      .add("(")
      .add(path.text())
      .add(") is not supported: answered ENOSYS (start ");
  text.add("that program itself, or the interpreter with the script as its argument)\n");
  shim_notice(text.c_str());
  return -ENOSYS;
}
long do_execveat(long number, const long* a) {
  return do_execve(number, a);
}

}  // namespace ftrun::shim
