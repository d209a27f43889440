// SPDX-License-Identifier: Apache-2.0
// The scanner for instructions that escape the log.
#include "cli/instruction_scan.h"

#include <gtest/gtest.h>

namespace ftrun::cli {
namespace {

using Bytes = std::vector<uint8_t>;
using Hits = std::vector<InstructionHit>;

size_t length_of(const Bytes& code) {
  size_t opcode = 0;
  return instruction_length(code, &opcode);
}

TEST(InstructionScan, KnowsEachInstruction) {
  EXPECT_EQ(scan_instructions(Bytes{0x0f, 0xc7, 0xf0}), (Hits{{0, Instruction::kRdrand, true}}));
  EXPECT_EQ(scan_instructions(Bytes{0x90, 0x48, 0x0f, 0xc7, 0xf1}),
            (Hits{{2, Instruction::kRdrand, true}}));
  EXPECT_EQ(scan_instructions(Bytes{0x66, 0x0f, 0xc7, 0xf8}),
            (Hits{{1, Instruction::kRdseed, true}}));
  EXPECT_EQ(scan_instructions(Bytes{0xf3, 0x0f, 0xc7, 0xf8}),
            (Hits{{1, Instruction::kRdpid, true}}));
  EXPECT_EQ(scan_instructions(Bytes{0xf3, 0x41, 0x0f, 0xc7, 0xf8}),
            (Hits{{2, Instruction::kRdpid, true}}));
  EXPECT_EQ(scan_instructions(Bytes{0x0f, 0x31, 0x0f, 0x01, 0xf9}),
            (Hits{{0, Instruction::kRdtsc, true}, {2, Instruction::kRdtscp, true}}));
}

TEST(InstructionScan, LeavesTheirNeighboursAlone) {
  EXPECT_TRUE(scan_instructions(Bytes{0xf0, 0x0f, 0xc7, 0x0f}).empty());        // lock cmpxchg8b
  EXPECT_TRUE(scan_instructions(Bytes{0x0f, 0xc7, 0x32}).empty());              // vmptrld (rdx)
  EXPECT_TRUE(scan_instructions(Bytes{0xf3, 0x0f, 0xc7, 0xf0}).empty());        // senduipi
  EXPECT_TRUE(scan_instructions(Bytes{0x0f, 0x01, 0xf8, 0x0f, 0xa2}).empty());  // swapgs, cpuid
  EXPECT_TRUE(scan_instructions(Bytes{}).empty());
  EXPECT_TRUE(scan_instructions(Bytes{0x0f}).empty());
  EXPECT_TRUE(scan_instructions(Bytes{0x90, 0x0f, 0xc7}).empty());
}

TEST(InstructionScan, TellsWhatLiesInsideAnotherInstruction) {
  // mov $0xf0c70f,%eax; ret
  EXPECT_EQ(scan_instructions(Bytes{0xb8, 0x0f, 0xc7, 0xf0, 0x00, 0xc3}),
            (Hits{{1, Instruction::kRdrand, false}}));
  // call with a displacement that ends in 0f; xor %eax,%eax (31 c0)
  EXPECT_EQ(scan_instructions(Bytes{0xe8, 0x00, 0x00, 0x00, 0x0f, 0x31, 0xc0}),
            (Hits{{4, Instruction::kRdtsc, false}}));
}

TEST(InstructionScan, LengthsAreTheProcessors) {
  const std::vector<Bytes> whole = {
      {0xc3},                                                        // ret
      {0x55},                                                        // push %rbp
      {0x48, 0x89, 0xe5},                                            // mov %rsp,%rbp
      {0x48, 0x83, 0xec, 0x10},                                      // sub $16,%rsp
      {0x48, 0x81, 0xec, 0x00, 0x01, 0x00, 0x00},                    // sub $256,%rsp
      {0x66, 0xc7, 0x00, 0x01, 0x00},                                // movw $1,(%rax)
      {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8},                          // movabs
      {0x48, 0x8b, 0x05, 1, 2, 3, 4},                                // mov (%rip),%rax
      {0x8b, 0x04, 0x25, 1, 2, 3, 4},                                // mov absolute,%eax
      {0x8b, 0x44, 0x24, 0x08},                                      // mov 8(%rsp),%eax
      {0x8b, 0x84, 0x24, 1, 2, 3, 4},                                // mov disp32(%rsp),%eax
      {0xf7, 0xd8},                                                  // neg %eax
      {0xf7, 0xc0, 1, 2, 3, 4},                                      // test $,%eax
      {0xf6, 0x07, 0x01},                                            // testb $1,(%rdi)
      {0x0f, 0x84, 1, 2, 3, 4},                                      // je
      {0x0f, 0xb6, 0xc0},                                            // movzbl
      {0x0f, 0xa2},                                                  // cpuid
      {0x0f, 0x05},                                                  // syscall
      {0x66, 0x0f, 0x70, 0xc0, 0x00},                                // pshufd
      {0x66, 0x0f, 0x3a, 0x0f, 0xc1, 0x08},                          // palignr
      {0x66, 0x0f, 0x38, 0x00, 0xc1},                                // pshufb
      {0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},  // nopw
      {0xc5, 0xf8, 0x77},                                            // vzeroupper
      {0xc4, 0xe2, 0x7d, 0x18, 0x05, 1, 2, 3, 4},                    // vbroadcastss (%rip)
      {0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1},                          // vmovaps zmm
      {0xe9, 1, 2, 3, 4},                                            // jmp
  };
  for (const Bytes& code : whole) {
    Bytes more = code;
    more.resize(32, 0x90);
    EXPECT_EQ(length_of(more), code.size()) << std::hex << int{code[0]} << " " << int{code[1]};
    EXPECT_EQ(length_of(Bytes(code.begin(), code.end() - 1)), 1u) << "not whole";
  }
}

}  // namespace
}  // namespace ftrun::cli
