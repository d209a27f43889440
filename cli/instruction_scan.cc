// SPDX-License-Identifier: Apache-2.0
// See instruction_scan.h. The lengths follow the opcode maps of Intel's manual, volume 2, appendix
// A; vector instructions by their prefixes (VEX, EVEX) alone.
#include "cli/instruction_scan.h"

#include <optional>

namespace ftrun::cli {
namespace {

constexpr size_t kInstructionBytesMax = 15;

// Reads past the end give zeros and are noticed at the end.
struct Cursor {
  std::span<const uint8_t> code;
  size_t at = 0;
  uint8_t peek() const { return at < code.size() ? code[at] : 0; }
  uint8_t take() {
    const uint8_t byte = peek();
    ++at;
    return byte;
  }
};

struct Prefixes {
  bool short_operand = false;  // 66
  bool short_address = false;  // 67
  bool wide = false;           // REX.W
};

Prefixes take_prefixes(Cursor* cursor) {
  Prefixes prefixes;
  for (;; ++cursor->at) {
    const uint8_t byte = cursor->peek();
    prefixes.short_operand = prefixes.short_operand || byte == 0x66;
    prefixes.short_address = prefixes.short_address || byte == 0x67;
    const bool segment = byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e ||
                         byte == 0x64 || byte == 0x65;
    if (!segment && byte != 0x66 && byte != 0x67 && byte != 0xf0 && byte != 0xf2 && byte != 0xf3) {
      break;
    }
  }
  // REX counts only as the last of the prefixes.
  if ((cursor->peek() & 0xf0) == 0x40) {
    prefixes.wide = (cursor->take() & 8) != 0;
  }
  return prefixes;
}

// ModRM, and the SIB byte and displacement that it asks for.
void skip_operand(Cursor* cursor) {
  const uint8_t modrm = cursor->take();
  const uint8_t mode = modrm >> 6;
  const uint8_t base = modrm & 7;
  if (mode == 3) {
    return;
  }
  const bool sib_without_base = base == 4 && (cursor->take() & 7) == 5;
  if (mode == 1) {
    cursor->at += 1;
  } else if (mode == 2 || base == 5 || sib_without_base) {
    cursor->at += 4;
  }
}

bool has_operand(uint8_t opcode) {
  return (opcode < 0x40 && (opcode & 7) < 4) || opcode == 0x63 || opcode == 0x69 ||
         opcode == 0x6b || (opcode >= 0x80 && opcode <= 0x8f) || opcode == 0xc0 || opcode == 0xc1 ||
         opcode == 0xc6 || opcode == 0xc7 || (opcode >= 0xd0 && opcode <= 0xd3) ||
         (opcode >= 0xd8 && opcode <= 0xdf) || opcode == 0xf6 || opcode == 0xf7 || opcode >= 0xfe;
}

// Bytes of the constant that an instruction of the one-byte map ends with.
size_t constant_bytes(uint8_t opcode, uint8_t modrm, const Prefixes& prefixes) {
  const size_t full = prefixes.short_operand ? 2 : 4;
  const bool test = (modrm >> 3 & 7) < 2;
  switch (opcode) {
    case 0x68:
    case 0x69:
    case 0x81:
    case 0xa9:
    case 0xc7:
      return full;
    case 0x6a:
    case 0x6b:
    case 0x80:
    case 0x83:
    case 0xa8:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xcd:
    case 0xeb:
      return 1;
    case 0xc2:
      return 2;
    case 0xc8:
      return 3;
    case 0xe8:
    case 0xe9:
      return 4;
    case 0xf6:
      return test ? 1 : 0;
    case 0xf7:
      return test ? full : 0;
    default:
      break;
  }
  if (opcode < 0x40 && (opcode & 7) >= 4 && (opcode & 7) <= 5) {
    return (opcode & 7) == 4 ? 1 : full;
  }
  if (opcode >= 0xa0 && opcode <= 0xa3) {
    return prefixes.short_address ? 4 : 8;
  }
  if (opcode >= 0xb8 && opcode <= 0xbf) {
    return prefixes.wide ? 8 : full;
  }
  const bool byte = (opcode >= 0x70 && opcode <= 0x7f) || (opcode >= 0xb0 && opcode <= 0xb7) ||
                    (opcode >= 0xe0 && opcode <= 0xe7);
  return byte ? 1 : 0;
}

// Maps 1 (0F), 2 (0F 38) and 3 (0F 3A), of plain and of vector instructions.
void skip_mapped(Cursor* cursor, int map) {
  const uint8_t opcode = cursor->take();
  if (map == 1 && opcode >= 0x80 && opcode <= 0x8f) {
    cursor->at += 4;  // a conditional jump
    return;
  }
  const bool alone = opcode == 0x05 || (opcode >= 0x06 && opcode <= 0x0b) || opcode == 0x0e ||
                     (opcode >= 0x30 && opcode <= 0x37) || opcode == 0x77 ||
                     (opcode >= 0xa0 && opcode <= 0xa2) || (opcode >= 0xa8 && opcode <= 0xaa) ||
                     (opcode >= 0xc8 && opcode <= 0xcf);
  if (map != 1 || !alone) {
    skip_operand(cursor);
  }
  const bool constant = (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xa4 || opcode == 0xac ||
                        opcode == 0xba || opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6) ||
                        opcode == 0x0f;
  cursor->at += map == 3 || (map == 1 && constant) ? 1 : 0;
}

void skip_vector(Cursor* cursor, uint8_t prefix) {
  int map = 1;
  if (prefix == 0xc4) {
    map = cursor->take() & 0x1f;
    cursor->at += 1;
  } else if (prefix == 0xc5) {
    cursor->at += 1;
  } else {
    map = cursor->take() & 7;
    cursor->at += 2;
  }
  skip_mapped(cursor, map);
}

// What is at `at`, whatever stands before.
std::optional<Instruction> pattern_at(std::span<const uint8_t> code, size_t at) {
  if (at + 2 > code.size() || code[at] != 0x0f) {
    return std::nullopt;
  }
  if (code[at + 1] == 0x31) {
    return Instruction::kRdtsc;
  }
  if (at + 3 > code.size()) {
    return std::nullopt;
  }
  if (code[at + 1] == 0x01 && code[at + 2] == 0xf9) {
    return Instruction::kRdtscp;
  }
  if (code[at + 1] != 0xc7 || code[at + 2] < 0xf0) {
    return std::nullopt;
  }
  // F3 makes another instruction of both; a REX prefix may stand between.
  const bool after_rex = at >= 2 && (code[at - 1] & 0xf0) == 0x40 && code[at - 2] == 0xf3;
  const bool repeated = after_rex || (at >= 1 && code[at - 1] == 0xf3);
  if (code[at + 2] >= 0xf8) {
    return repeated ? Instruction::kRdpid : Instruction::kRdseed;
  }
  return repeated ? std::nullopt : std::optional(Instruction::kRdrand);
}

}  // namespace

const char* instruction_name(Instruction instruction) {
  switch (instruction) {
    case Instruction::kRdrand:
      return "RDRAND";
    case Instruction::kRdseed:
      return "RDSEED";
    case Instruction::kRdpid:
      return "RDPID";
    case Instruction::kRdtsc:
      return "RDTSC";
    case Instruction::kRdtscp:
      return "RDTSCP";
  }
  return "?";
}

bool escapes_log(Instruction instruction) {
  return instruction != Instruction::kRdtsc && instruction != Instruction::kRdtscp;
}

size_t instruction_length(std::span<const uint8_t> code, size_t* opcode_at) {
  Cursor cursor{
      code.first(code.size() < kInstructionBytesMax ? code.size() : kInstructionBytesMax)};
  const Prefixes prefixes = take_prefixes(&cursor);
  *opcode_at = cursor.at;
  const uint8_t opcode = cursor.take();
  if (opcode == 0xc4 || opcode == 0xc5 || opcode == 0x62) {
    skip_vector(&cursor, opcode);
  } else if (opcode == 0x0f && (cursor.peek() == 0x38 || cursor.peek() == 0x3a)) {
    const int map = cursor.take() == 0x38 ? 2 : 3;
    skip_mapped(&cursor, map);
  } else if (opcode == 0x0f) {
    skip_mapped(&cursor, 1);
  } else {
    const uint8_t modrm = cursor.peek();
    if (has_operand(opcode)) {
      skip_operand(&cursor);
    }
    cursor.at += constant_bytes(opcode, modrm, prefixes);
  }
  if (cursor.at > cursor.code.size()) {
    *opcode_at = 0;
    return 1;
  }
  return cursor.at;
}

std::vector<InstructionHit> scan_instructions(std::span<const uint8_t> code) {
  std::vector<InstructionHit> hits;
  size_t walked = 0;  // the next instruction of the walk
  size_t opcode_at = 0;
  for (size_t at = 0; at + 1 < code.size(); ++at) {
    const std::optional<Instruction> found = pattern_at(code, at);
    if (!found) {
      continue;
    }
    // The opcode of the instruction that covers `at`, or of the last one before.
    while (walked <= at) {
      const size_t start = walked;
      walked += instruction_length(code.subspan(start), &opcode_at);
      opcode_at += start;
    }
    hits.push_back({at, *found, opcode_at == at});
  }
  return hits;
}

}  // namespace ftrun::cli
