// SPDX-License-Identifier: Apache-2.0
// See replica.h.
#include "tests/replay/replica.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "supervisor/process/proc_info.h"

namespace ftrun::replay {
namespace {

// Beside this test's own executable.
std::string preload_path() {
  char self[4096] = {};
  const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
  std::string path(self, n > 0 ? static_cast<size_t>(n) : 0);
  return path.substr(0, path.rfind('/') + 1) + "libftpreload.so";
}

template <typename T>
T value_of(Result<T> result) {
  if (!result.ok()) {
    die(result.error().message);
  }
  return std::move(result.value());
}

}  // namespace

void die(const std::string& what) {
  std::fprintf(stderr, "replay: %s\n", what.c_str());
  std::exit(1);
}

std::vector<std::string> parse_command(int argc, char** argv,
                                       const std::map<std::string, uint64_t*>& known,
                                       const std::string& usage) {
  int i = 1;
  for (; i + 1 < argc && std::strcmp(argv[i], "--") != 0; i += 2) {
    const auto option = known.find(argv[i]);
    if (option == known.end()) {
      die(std::string("unknown option ") + argv[i]);
    }
    *option->second = std::strtoull(argv[i + 1], nullptr, 10);
  }
  if (i + 1 >= argc) {
    die("usage: " + usage + " -- /path/to/program args");
  }
  return {argv + i + 1, argv + argc};
}

bool same_digests(const Digests& here, const Digests& there) {
  for (const auto& [position, digest] : here) {
    const auto found = there.find(position);
    if (found == there.end() || found->second != digest) {
      std::printf("FAILED: the output up to log position %lu differs\n", position);
      return false;
    }
  }
  return here.size() == there.size();
}

Replica::Replica(Role role, const std::vector<std::string>& program, Logging logging,
                 AppPort::Part part)
    : region(
          value_of(Region::create(role, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}))) {
  region.control()->logs_early = static_cast<uint32_t>(logging);
  doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  process::LaunchPlan plan;
  plan.path = program[0];
  plan.arguments = program;
  plan.preload_path = preload_path();
  plan.inheritance = value_of(process::record_inheritance());
  plan.region_fd = region.fd();
  plan.doorbell_fd = doorbell;
  plan.control = region.control();
  loader_begin = __builtin_ia32_rdtsc();
  application = value_of(process::launch(plan));
  while (region.control()->ready.load() == 0 && !exited) {
    check();
  }
  loader_end = __builtin_ia32_rdtsc();
  port = std::make_unique<AppPort>(&region, part);
}

void Replica::check() {
  if (exited) {
    return;
  }
  Control* control = region.control();
  if (control->failure.load() != ShimFailure::kNone) {
    die(std::string("the shim stopped the program: ") + control->failure_text);
  }
  const auto event = value_of(process::read_status(application.status.get()));
  if (event && event->kind == process::StatusKind::kExited) {
    exited = true;
    wait_status = event->value;
  }
}

MemoryImage Replica::memory() const {
  MemoryImage image = read_memory(application.application_pid, region.control());
  image.loader_begin = loader_begin;
  // The loader of an image that an exec started ran somewhere up to now.
  const bool first = region.control()->execs.load() == 0;
  image.loader_end = first ? loader_end : __builtin_ia32_rdtsc();
  return image;
}

void Replica::drain(AppPort::Sink* sink) {
  const auto drained = port->drain(sink);
  if (!drained.ok()) {
    die(drained.error().message);
  }
}

void Replica::freeze(AppPort::Sink* sink) {
  for (;;) {
    kill(application.application_pid, SIGSTOP);
    process::ProcessLook look;
    while (!look.stopped || look.runnable) {
      check();
      if (exited) {
        die("the program ended while it was to be stopped");
      }
      look = process::look_at_process(application.application_pid);
    }
    if (is_idle() && !port->has_output()) {
      return;
    }
    kill(application.application_pid, SIGCONT);
    port->pump();
    drain(sink);
  }
}

}  // namespace ftrun::replay
