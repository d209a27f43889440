// SPDX-License-Identifier: Apache-2.0
// Finds instructions whose results differ between replicas, in machine code for x86-64. Runs in
// ftrun (`ftrun check`); pure: bytes in, places out.
//
// A place is "decoded" when walking over the code from its start, instruction by instruction,
// comes to it. Data between functions can lead the walk astray for some instructions, and a byte
// pattern that it passes over lies inside another instruction, most likely: so what is found is
// possible, what is decoded is likely, and code that is made at run time is not seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ftrun::cli {

enum class Instruction : uint8_t { kRdrand, kRdseed, kRdpid, kRdtsc, kRdtscp };
const char* instruction_name(Instruction instruction);
// Whether nothing stands between the instruction and its result: no trap, no log.
bool escapes_log(Instruction instruction);

struct InstructionHit {
  size_t offset = 0;  // where the opcode starts (after its prefixes)
  Instruction instruction = Instruction::kRdrand;
  bool decoded = false;
  bool operator==(const InstructionHit&) const = default;
};
// In the order of their offsets.
std::vector<InstructionHit> scan_instructions(std::span<const uint8_t> code);

// The length of the instruction at the start of `code`: 1 where there is none that is known or
// whole. `opcode` is set to where its opcode starts.
size_t instruction_length(std::span<const uint8_t> code, size_t* opcode);

}  // namespace ftrun::cli
