// SPDX-License-Identifier: Apache-2.0
// Stands for the preload library where a test is about the launch alone: process_probe asks the
// loader whether this symbol is there. Runs in the probe.
extern "C" int ftrun_stub_preloaded() {
  return 1;
}
