// SPDX-License-Identifier: Apache-2.0
// What is known before a program is started: where it is, whether the shim can get into it, and
// whether the kernel has what ftrun needs. Every refusal names the file or feature and the reason.
// Runs in ftrun (before anything is started) and in tests; only looks, changes nothing.
#pragma once

#include <span>
#include <string>

#include "supervisor/base/result.h"

namespace ftrun::process {

// The path that execvp would give to execve: `name` itself if it has a slash, else the first
// executable file of that name in `search_path` (the value of PATH; an empty entry is the working
// directory).
Result<std::string> find_program(const std::string& name, const std::string& search_path);

// Whether the program at `path` can run under the shim. Scripts are followed to their interpreters
// as execve does. Refused: no permission, unknown formats, other architectures, static programs,
// loaders other than glibc's, setuid, setgid, file capabilities.
Result<void> check_program(const std::string& path);

// libftpreload.so: beside this executable (a build tree), else ../lib/ftrun/ from it (installed).
Result<std::string> find_preload_library();

// A feature of the kernel without which no unit can run. `probe` tries it and names what is missing
// and the version that brought it.
struct KernelFeature {
  const char* name;
  const char* purpose;
  Result<void> (*probe)();
};
std::span<const KernelFeature> kernel_features();
// The first feature that is missing.
Result<void> check_kernel();

}  // namespace ftrun::process
