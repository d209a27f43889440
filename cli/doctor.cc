// SPDX-License-Identifier: Apache-2.0
// See doctor.h.
#include "cli/doctor.h"

#include <cpuid.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "cli/options.h"
#include "fmt/format.h"
#include "supervisor/process/call_wall.h"
#include "supervisor/process/program_check.h"

namespace ftrun::cli {
namespace {

constexpr int kCoresPerReplica = 2;  // a program and its supervisor
constexpr rlim_t kAddressSpaceBytes = 128
                                      << 20;  // the shared rings twice over, and the shim's memory
constexpr long kLinkBufferBytes = 4L << 20;   // what a link between supervisors asks for

long number_in(const char* path, long otherwise) {
  std::ifstream file(path);
  long value = otherwise;
  return file >> value ? value : otherwise;
}

int cores() {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
}

bool has_random_instructions() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool rdrand = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_RDRND) != 0;
  const bool rdseed =
      __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_RDSEED) != 0;
  return rdrand || rdseed;
}

// Something that a unit can do without; `cost` says what it does without it. Empty: it is there.
struct Comfort {
  const char* name;
  std::string (*cost)();
};

std::string cost_of_cores() {
  const int there = cores();
  return there >= kReplicasDefault * kCoresPerReplica
             ? ""
             : fmt::format(
                   "{} of {}: replicas and supervisors wait for each other; throughput is "
                   "about half of the bare program's on two",
                   there, kReplicasDefault * kCoresPerReplica);
}

std::string cost_of_buffers() {
  const long there = std::min(number_in("/proc/sys/net/core/wmem_max", 0),
                              number_in("/proc/sys/net/core/rmem_max", 0));
  return there >= kLinkBufferBytes
             ? ""
             : fmt::format(
                   "net.core.wmem_max or rmem_max is {}: large requests and replies pass "
                   "between replicas in smaller steps; {} is best",
                   there, kLinkBufferBytes);
}

std::string cost_of_address_space() {
  rlimit limit = {};
  return getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur >= kAddressSpaceBytes
             ? ""
             : fmt::format(
                   "limited to {} KiB (ulimit -v): units may not start; each process of ftrun "
                   "needs {} KiB, "
                   "a program that much more than by itself",
                   limit.rlim_cur >> 10, kAddressSpaceBytes >> 10);
}

std::string cost_of_random_instructions() {
  return has_random_instructions()
             ? "this processor has them and no one can trap them: a program that uses them makes "
               "its replica diverge, and be taken out, as soon as it shows"
             : "";
}

std::string cost_of_root() {
  return geteuid() == 0 ? ""
                        : "as an ordinary user: a program that changes to another user fails "
                          "(EINVAL)";
}

std::string cost_of_wall() {
  const Result<void> found = process::probe_call_wall();
  return found.ok()
             ? ""
             : found.error().message +
                   ": units start with --no-filter only; nothing but the shim keeps a program "
                   "from calls that it must not make";
}

constexpr Comfort kComforts[] = {
    {"call filter", &cost_of_wall},
    {"processor cores", &cost_of_cores},
    {"socket buffers", &cost_of_buffers},
    {"address space", &cost_of_address_space},
    {"RDRAND and RDSEED", &cost_of_random_instructions},
    {"privileges", &cost_of_root},
};

}  // namespace

Diagnosis diagnose_host() {
  Diagnosis diagnosis;
  diagnosis.able = true;
  for (const process::KernelFeature& feature : process::kernel_features()) {
    const Result<void> found = feature.probe();
    diagnosis.able = diagnosis.able && found.ok();
    diagnosis.text += fmt::format("{:8}{:21}{}\n", found.ok() ? "ok" : "missing", feature.name,
                                  found.ok() ? feature.purpose : found.error().message);
  }
  for (const Comfort& comfort : kComforts) {
    const std::string cost = comfort.cost();
    diagnosis.text += fmt::format("{:8}{:21}{}\n", cost.empty() ? "ok" : "costs", comfort.name,
                                  cost.empty() ? "nothing lost" : cost);
  }
  diagnosis.text += diagnosis.able ? "Units can run here.\n" : "No unit can run here.\n";
  return diagnosis;
}

}  // namespace ftrun::cli
