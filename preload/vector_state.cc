// SPDX-License-Identifier: Apache-2.0
// See vector_state.h. Runs in the application on the shim's stack; no libc.
#include "preload/vector_state.h"

#include <cpuid.h>

#include "preload/guarded.h"

namespace ftrun::shim {
namespace {

constexpr uint32_t kMagic1 =
    0x46505853;  // FP_XSTATE_MAGIC1: there is more than the first 512 bytes
constexpr uint32_t kMagic2 = 0x46505845;  // FP_XSTATE_MAGIC2, at the end
constexpr uint32_t kControlInitial = 0x1f80;
constexpr uint32_t kControlMask = 0xffff;
constexpr uint64_t kLegacyFeatures = 3;        // x87 and SSE
constexpr uint64_t kProtectionKeys = 1u << 9;  // not a register of the program's computations
constexpr int kFeatures = 63;
constexpr uint32_t kExtendedState = 0xd;  // leaf of CPUID

struct State {
  uint8_t x87_begin[24];
  uint32_t control;  // MXCSR
  uint32_t control_mask;
  uint8_t x87_registers[128];
  uint8_t sse_registers[256];
  uint8_t unused[48];
  struct Software {
    uint32_t magic1;
    uint32_t extended_size;
    uint64_t features;
    uint32_t size;  // of the state, without kMagic2
    uint32_t padding[7];
  } software;
  // Not there without kMagic1.
  uint64_t in_use;  // XSTATE_BV
  uint64_t header[7];
};
static_assert(sizeof(State) == 576 && offsetof(State, software) == 464);
constexpr size_t kLegacyBytes = offsetof(State, in_use);

struct Feature {
  uint32_t offset;
  uint32_t bytes;
};
// Offsets and sizes of the standard format, in which signal frames are (the compacted one is the
// kernel's own). Filled in at the start, from the processor: replicas run on one kind of it.
Feature features[kFeatures];

State* state_of(fpregset_t state) {
  return reinterpret_cast<State*>(state);
}
bool is_extended(const State& state) {
  return state.software.magic1 == kMagic1;
}
void set_zero(State* state, size_t begin, size_t end) {
  if (begin < end) {
    __builtin_memset(reinterpret_cast<uint8_t*>(state) + begin, 0, end - begin);
  }
}

// The feature that begins first at or after `offset`; its index, or kFeatures.
// Features do not lie in the order of their numbers, and the gaps between them are what must be
// found.
int next_feature(uint64_t present, size_t offset) {
  int next = kFeatures;
  for (int i = 2; i < kFeatures; ++i) {
    if ((present >> i & 1) != 0 && features[i].offset >= offset &&
        (next == kFeatures || features[i].offset < features[next].offset)) {
      next = i;
    }
  }
  return next;
}

}  // namespace

void vector_state_init() {
  for (uint32_t i = 2; i < kFeatures; ++i) {
    uint32_t control = 0;
    uint32_t unused = 0;
    __cpuid_count(kExtendedState, i, features[i].bytes, features[i].offset, control, unused);
  }
}

size_t vector_state_bytes(const fpregset_t state) {
  const State* saved = state_of(state);
  return is_extended(*saved) ? saved->software.extended_size : kLegacyBytes;
}

void vector_state_settle(fpregset_t state) {
  // A handler may look at all of its frame. Which features count as in use, and so what stands
  // behind the others, depends on what the processor has seen since the last switch of threads: on
  // the kernel's timing. Here all are in use, and those that were not have their initial value,
  // zero.
  State* saved = state_of(state);
  __builtin_memset(saved->unused, 0, sizeof(saved->unused));
  if (!is_extended(*saved)) {
    return;
  }
  const uint64_t present = saved->software.features;
  size_t end = sizeof(State);
  for (int i = next_feature(present, end); i < kFeatures; i = next_feature(present, end)) {
    const Feature& feature = features[i];
    set_zero(saved, end, feature.offset);
    end = feature.offset + feature.bytes;
    if ((saved->in_use >> i & 1) == 0) {
      set_zero(saved, feature.offset, end);  // its initial value; the kernel may have left it out
    }
  }
  set_zero(saved, end, saved->software.size);
  saved->in_use = present;
  __builtin_memset(saved->header, 0, sizeof(saved->header));
}

void vector_state_reset(fpregset_t state) {
  State* saved = state_of(state);
  saved->control = kControlInitial;
  if (is_extended(*saved)) {
    // What is not in use has its initial state when the frame is loaded (XRSTOR). Protection keys
    // are rights to memory, which a handler keeps.
    saved->in_use &= kProtectionKeys;
    return;
  }
  __builtin_memset(saved->x87_begin, 0, sizeof(saved->x87_begin));
  saved->x87_begin[0] = 0x7f;  // the control word, 0x37f
  saved->x87_begin[1] = 0x03;
  __builtin_memset(saved->sse_registers, 0, sizeof(saved->sse_registers));
}

void vector_state_clear_registers(fpregset_t state) {
  State* saved = state_of(state);
  __builtin_memset(saved->sse_registers, 0, sizeof(saved->sse_registers));
}

bool vector_state_take(fpregset_t state, const void* application) {
  State* saved = state_of(state);
  if (application == nullptr) {
    vector_state_reset(state);
    return true;
  }
  State given;
  if (copy_in(&given, application, kLegacyBytes) != kLegacyBytes) {
    return false;
  }
  // The program may have written anything into its frame. Sizes and features are those of the
  // kernel's own frame, which will be read; the rest is taken as far as check_xstate_in_sigframe()
  // would: all of it if the marks at both ends fit, else the first 512 bytes.
  const State::Software ours = saved->software;
  const auto* end = static_cast<const uint8_t*>(application) + ours.size;
  uint32_t magic2 = 0;
  const bool whole = is_extended(*saved) && is_extended(given) &&
                     given.software.size == ours.size &&
                     given.software.extended_size == ours.extended_size && get_in(&magic2, end) &&
                     magic2 == kMagic2;
  const size_t bytes = whole ? ours.size : kLegacyBytes;
  if (copy_in(saved, application, bytes) != bytes) {
    return false;
  }
  // The kernel takes it from here, and dies of what the processor refuses.
  saved->software = ours;
  // Reserved bits of MXCSR and of the header make the load fault.
  saved->control &= kControlMask;
  if (is_extended(*saved)) {
    saved->in_use = whole ? saved->in_use & ours.features : kLegacyFeatures;
    __builtin_memset(saved->header, 0, sizeof(saved->header));
  }
  return true;
}

}  // namespace ftrun::shim
