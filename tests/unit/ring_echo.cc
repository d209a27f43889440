// SPDX-License-Identifier: Apache-2.0
// A fake application for tests of the supervisor: speaks the ring protocol of
// eventlog/shared_region.h by itself, in the shim's place. A line-oriented TCP server: each line is
// answered by "+<number> <line>" with CR LF (as in the Redis protocol, so that its tools can drive
// it), where the number counts all lines of all connections. The line "die" aborts the process,
// "corrupt" puts nonsense into its output ring (it is offered again to a promoted secondary,
// which must not do the same), "hang" stops it for ever in the same way, "compute" takes half
// a second of CPU time, "exit" ends it with status 7, "quit" closes the connection.
//
//   ring_echo PORT     (launched by ftrun-supervisor; descriptor kRegionFd is the region)
#include <cstdio>
#include <cstdlib>

#include "tests/unit/ring_echo.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: ring_echo PORT\n");
    return 2;
  }
  auto region = ftrun::Region::attach(ftrun::kRegionFd);
  if (!region.ok()) {
    return 3;
  }
  ftrun::RingEcho(std::move(*region), static_cast<uint16_t>(std::atoi(argv[1]))).run();
}
