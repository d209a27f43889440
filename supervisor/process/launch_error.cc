// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/launch_error.h"

#include <cerrno>

#include "fmt/format.h"

namespace ftrun::process {

Error launch_error(const LaunchPlan& plan, const InitMessage& message) {
  const auto failed = [&message](const std::string& what) {
    return system_error(what, message.value);
  };
  switch (message.step) {
    case InitStep::kMapUser:
      return failed("mapping the user into the new user namespace");
    case InitStep::kPrivateTree:
      return failed("making the mount namespace private");
    case InitStep::kMount: {
      const size_t index = static_cast<size_t>(message.detail);
      if (index >= plan.mounts.size()) {
        return failed("mounting a state directory");
      }
      return failed(
          fmt::format("mounting {} over {}", plan.mounts[index].source, plan.mounts[index].target));
    }
    case InitStep::kReadOnly:
      return failed("making all but the state directories read-only (needs Linux 5.12)");
    case InitStep::kLifeline:
      return failed("tying the application to its supervisor (PR_SET_PDEATHSIG)");
    case InitStep::kFork:
      return fork_error("creating the application's process", message.value);
    case InitStep::kTraceMe:
      return failed(
          "PTRACE_TRACEME (is ptrace forbidden here, e.g. kernel.yama.ptrace_scope = 3?)");
    case InitStep::kSession:
      return failed("setsid");
    case InitStep::kDescriptors:
      return failed("placing the application's descriptors");
    case InitStep::kLimits:
      return failed(fmt::format("setting resource limit {}", message.detail));
    case InitStep::kDirectory:
      return failed(fmt::format("working directory {}", plan.inheritance.directory));
    case InitStep::kPersonality:
      return failed("switching off address space randomisation (personality)");
    case InitStep::kWall:
      return failed("filtering the program's system calls (--no-filter goes without)");
    case InitStep::kExec:
      return failed(fmt::format("executing {}", plan.path));
    case InitStep::kPatch:
      return failed(fmt::format("reading {} at its exec stop", plan.path));
    case InitStep::kSecureExec:
      return Error{
          fmt::format("{} runs with raised privileges (setuid, setgid or file "
                      "capabilities): the loader would ignore LD_PRELOAD",
                      plan.path)};
    case InitStep::kStaticExec:
      return Error{
          fmt::format("{} is statically linked: it has no loader that could preload the "
                      "shim",
                      plan.path)};
    case InitStep::kDiedEarly:
      return Error{fmt::format("{} ended before it ran: {}", plan.path,
                               describe_wait_status(message.value))};
    case InitStep::kNone:
      break;
  }
  return failed("starting the application (unknown step)");
}

Error namespace_error(int number, bool with_user_namespace) {
  const char* hint = "";
  if (number == EPERM && with_user_namespace) {
    hint =
        " (unprivileged user namespaces are switched off here: see the sysctls "
        "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, or a "
        "container's seccomp policy)";
  } else if (number == ENOSPC) {
    hint = " (the limit of namespaces is reached: see user.max_user_namespaces)";
  } else if (number == EAGAIN || number == ENOMEM) {
    hint = process_hint(number);
  } else if (number == ENOSYS) {
    hint = " (needs clone3, Linux 5.3)";
  }
  return Error{
      fmt::format("a PID namespace{} for the application: {}{}",
                  with_user_namespace ? " in a user namespace" : "", std::strerror(number), hint),
      number};
}

}  // namespace ftrun::process
