// SPDX-License-Identifier: Apache-2.0
// Stands in for the shim where a test's application speaks the ring protocol by itself (ring_echo).
extern "C" void ftrun_io_stub_preload() {}
