// SPDX-License-Identifier: Apache-2.0
// The environment that the application gets: the caller's, with what the shim needs merged in. A
// pure function of its arguments, so that it is byte-equal in all replicas (role and paths travel
// by the inherited region, never here). Runs in the supervisor before the application is started.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.h"

namespace ftrun::process {

// Merges, in place where the variable exists (duplicates of it are dropped), else at the end:
//   LD_PRELOAD      the shim first, then what was there
//   LD_BIND_NOW=1   lazy binding runs XSAVE code whose stack residue differs
//   GLIBC_TUNABLES  rseq and lock elision off, other tunables kept
//   OPENSSL_ia32cap RDRAND and RDSEED masked, other bits kept
// Fails when `preload_path` cannot stand in LD_PRELOAD, or OPENSSL_ia32cap does not parse.
Result<std::vector<std::string>> application_environment(const std::vector<std::string>& base,
                                                         const std::string& preload_path);

// Merged values of single variables (for tests).
std::string merge_tunables(std::string_view existing);
Result<std::string> merge_ia32cap(std::string_view existing);

}  // namespace ftrun::process
