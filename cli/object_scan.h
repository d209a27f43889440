// SPDX-License-Identifier: Apache-2.0
// What instruction_scan.h finds in the executable sections of one ELF file, with the functions that
// its symbol tables name. Runs in ftrun; reads the file, not a process.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "cli/instruction_scan.h"
#include "supervisor/base/result.h"

namespace ftrun::cli {

struct FunctionUse {
  std::string function;  // "name", or "offset 0x1234" (in the file) where no symbol covers it
  Instruction instruction = Instruction::kRdrand;
  int places = 0;
  bool operator==(const FunctionUse&) const = default;
};

// Whether a library function does what replicas refuse or answer with an error, if it is called
// at all: "fork", "connect" and the like.
bool is_doubtful_function(std::string_view name);

struct ObjectScan {
  std::string path;
  std::vector<std::string> doubtful;  // functions of that kind that it imports, by name
  std::vector<FunctionUse> uses;      // decoded places, by function
  bool has_openssl = false;           // inside: its uses of RDRAND and RDSEED are switched off
  int undecoded = 0;                  // further patterns, of those that escape the log
};
Result<ObjectScan> scan_object(const std::string& path);

// The files that a running process has mapped as code, each once; nothing when it is gone.
std::vector<std::string> mapped_objects(pid_t pid);

// Why what is found in an object is no concern, as far as that is known by the object's name; empty
// for all others.
std::string harmless_because(const std::string& path);

}  // namespace ftrun::cli
