// SPDX-License-Identifier: Apache-2.0
// A libFuzzer target for one decoder; FTRUN_FUZZ_DECODER names it, FTRUN_FUZZ_HEADER declares it.
// Its own process.
#include FTRUN_FUZZ_HEADER

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ftrun::fuzz::FTRUN_FUZZ_DECODER(data, size);
  return 0;
}
