// SPDX-License-Identifier: Apache-2.0
// A libFuzzer target for one decoder of eventlog; FTRUN_FUZZ_DECODER names it. Its own process.
#include "tests/fuzz/decoders.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ftrun::fuzz::FTRUN_FUZZ_DECODER(data, size);
  return 0;
}
