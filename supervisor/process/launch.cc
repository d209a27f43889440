// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/launch.h"

#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>

#include "fmt/format.h"
#include "supervisor/process/call_wall.h"
#include "supervisor/process/environment.h"
#include "supervisor/process/init.h"
#include "supervisor/process/init_message.h"
#include "supervisor/process/launch_error.h"

extern char** environ;

namespace ftrun::process {
namespace {

int pidfd_open(pid_t pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& text : strings) {
    result.push_back(text.data());
  }
  result.push_back(nullptr);
  return result;
}

// What the init's plan points into; lives until launch() returns (the init has its own copy).
struct Prepared {
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::vector<char*> argument_pointers;
  std::vector<char*> environment_pointers;
  std::vector<InitMount> mounts;
  std::string uid_map;
  std::string gid_map;
  Limits limits;
  std::vector<sock_filter> filter;
  sock_fprog wall{};
  Descriptor supervisor;
  InitPlan plan;
};

Result<void> prepare_limits(const LaunchPlan& plan, Prepared* prepared) {
  const rlimit& descriptors = plan.inheritance.limits[RLIMIT_NOFILE];
  prepared->plan.doorbell_number = doorbell_number(descriptors);
  if (prepared->plan.doorbell_number < kRegionFd + 16) {
    return Error{fmt::format("the limit of open files (ulimit -Hn) is {}; ftrun needs at least {}",
                             descriptors.rlim_max, kRegionFd + 17)};
  }
  rlimit own{};
  getrlimit(RLIMIT_NOFILE, &own);
  prepared->plan.descriptors_hard_max = own.rlim_max;
  prepared->limits = plan.inheritance.limits;
  prepared->limits[RLIMIT_NOFILE] = application_descriptor_limits(descriptors);
  prepared->plan.limits = prepared->limits.data();
  return {};
}

// What the shim gives to an image that the application executes: see exec_environment() in
// preload/exec/program.h. The application's own values may differ by then, so only what is the
// shim's is here.
Result<void> put_preload_environment(const LaunchPlan& plan, const Prepared& prepared) {
  std::string text;
  for (const std::string& entry : prepared.environment) {
    if (entry.starts_with("OPENSSL_ia32cap=") || entry.starts_with("LD_BIND_NOW=")) {
      text += entry + '\0';
    }
  }
  text += fmt::format("LD_PRELOAD={}", plan.preload_path) + '\0';
  text += fmt::format("GLIBC_TUNABLES={}", merge_tunables("")) + '\0';
  if (text.size() >= kPreloadEnvironmentBytes) {
    return Error{fmt::format("the path of libftpreload.so, or OPENSSL_ia32cap, is too long")};
  }
  std::memcpy(plan.control->preload_environment, text.c_str(), text.size() + 1);
  return {};
}

Result<void> prepare(const LaunchPlan& plan, Prepared* prepared) {
  FTRUN_ASSERT(plan.control != nullptr && plan.region_fd >= 0 && plan.doorbell_fd >= 0);
  FTRUN_ASSERT(!plan.arguments.empty());
  FTRUN_TRY(prepare_limits(plan, prepared));
  auto environment = application_environment(plan.inheritance.environment, plan.preload_path);
  FTRUN_TRY(environment);
  prepared->environment = std::move(*environment);
  prepared->arguments = plan.arguments;
  prepared->argument_pointers = pointers(prepared->arguments);
  prepared->environment_pointers = pointers(prepared->environment);
  for (const Mount& mount : plan.mounts) {
    prepared->mounts.push_back({mount.source.c_str(), mount.target.c_str()});
  }
  if (plan.filter) {
    auto filter = build_call_wall();
    FTRUN_TRY(filter);
    prepared->filter = std::move(*filter);
    prepared->wall = {static_cast<unsigned short>(prepared->filter.size()),
                      prepared->filter.data()};
    prepared->plan.wall = &prepared->wall;
  }
  prepared->supervisor = Descriptor(pidfd_open(getpid()));
  if (!prepared->supervisor.valid()) {
    return system_error("pidfd_open of the supervisor (needs Linux 5.3)", errno);
  }
  prepared->uid_map = fmt::format("{0} {0} 1\n", geteuid());
  prepared->gid_map = fmt::format("{0} {0} 1\n", getegid());
  InitPlan& init = prepared->plan;
  init.path = plan.path.c_str();
  init.arguments = prepared->argument_pointers.data();
  init.environment = prepared->environment_pointers.data();
  init.directory = plan.inheritance.directory.c_str();
  init.mounts = prepared->mounts.data();
  init.mount_count = prepared->mounts.size();
  init.mask = plan.inheritance.mask;
  init.supervisor_fd = prepared->supervisor.get();
  init.region_fd = plan.region_fd;
  init.doorbell_fd = plan.doorbell_fd;
  std::copy(std::begin(plan.control->at_random), std::end(plan.control->at_random), init.at_random);
  plan.control->doorbell_fd = init.doorbell_number;
  FTRUN_TRY(put_preload_environment(plan, *prepared));
  return {};
}

pid_t clone_init(const InitPlan& plan, uint64_t namespaces, int* pidfd) {
  clone_args arguments{};
  arguments.flags = namespaces | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(pidfd);
  arguments.exit_signal = SIGCHLD;
  const long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) {
    run_init(plan);
  }
  return static_cast<pid_t>(pid);
}

// Without a user namespace where that is allowed (root), else with one.
Result<void> start_init(Prepared* prepared, Application* application) {
  constexpr uint64_t kNamespaces = CLONE_NEWPID | CLONE_NEWNS;
  int pidfd = -1;
  prepared->plan.uid_map = nullptr;
  application->init_pid = clone_init(prepared->plan, kNamespaces, &pidfd);
  if (application->init_pid < 0 && errno == EPERM) {
    prepared->plan.uid_map = prepared->uid_map.c_str();
    prepared->plan.gid_map = prepared->gid_map.c_str();
    application->init_pid = clone_init(prepared->plan, CLONE_NEWUSER | kNamespaces, &pidfd);
  }
  if (application->init_pid < 0) {
    return namespace_error(errno, prepared->plan.uid_map != nullptr);
  }
  application->init = Descriptor(pidfd);
  return {};
}

struct Received {
  InitMessage message;
  pid_t sender = 0;
};

// One message; nullopt when there is none now. Only structs of our version and size pass.
Result<std::optional<Received>> receive(int fd) {
  Received received;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  uint8_t bytes[sizeof(InitMessage) + 1];  // so that a longer message is seen to be one
  iovec vector{bytes, sizeof bytes};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t length = 0;
  do {
    length = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    return std::optional<Received>{};
  }
  if (length == 0 || (length < 0 && errno == ECONNRESET)) {
    return Error{"the application's init ended without a report (killed?)"};
  }
  if (length < 0) {
    return system_error("reading from the application's init", errno);
  }
  auto message = decode_init_message({bytes, static_cast<size_t>(length)});
  FTRUN_TRY(message);
  received.message = *message;
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_CREDENTIALS) {
      ucred credentials;
      std::memcpy(&credentials, CMSG_DATA(item), sizeof credentials);
      received.sender = credentials.pid;
    }
  }
  return std::optional<Received>{received};
}

using Clock = std::chrono::steady_clock;

Result<Received> receive_before(int fd, Clock::time_point deadline) {
  for (;;) {
    auto received = receive(fd);
    FTRUN_TRY(received);
    if (received->has_value()) {
      return **received;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      return Error{fmt::format("the application did not start within {} ms", kLaunchDeadlineMs)};
    }
    pollfd readable{fd, POLLIN, 0};
    poll(&readable, 1, static_cast<int>(left));
  }
}

Result<void> admit(const Received& hello, Application* application) {
  application->application_pid = hello.sender;
  application->application = Descriptor(pidfd_open(hello.sender));
  if (hello.sender <= 0 || !application->application.valid()) {
    return system_error(fmt::format("pidfd_open of the application ({})", hello.sender), errno);
  }
  const char go = 1;
  if (send(application->status.get(), &go, sizeof go, MSG_NOSIGNAL) != sizeof go) {
    return system_error("letting the application go", errno);
  }
  return {};
}

// Follows the start until the application runs.
Result<void> see_through(const LaunchPlan& plan, Application* application) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(kLaunchDeadlineMs);
  for (;;) {
    auto received = receive_before(application->status.get(), deadline);
    FTRUN_TRY(received);
    switch (received->message.kind) {
      case InitMessageKind::kHostProc:
        application->proc_error = received->message.value;
        break;
      case InitMessageKind::kHello:
        FTRUN_TRY(admit(*received, application));
        break;
      case InitMessageKind::kRunning:
        return application->application.valid()
                   ? Result<void>()
                   : Error{"the application's init skipped the greeting"};
      case InitMessageKind::kFailed:
        return launch_error(plan, received->message);
      default:
        return Error{"the application's init spoke out of turn"};
    }
  }
}

}  // namespace

Result<Application> launch(const LaunchPlan& plan) {
  Prepared prepared;
  FTRUN_TRY(prepare(plan, &prepared));
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return system_error("socketpair for the application's init", errno);
  }
  Application application;
  application.status = Descriptor(pair[0]);
  Descriptor far(pair[1]);
  // ORDER: before the clone; messages sent earlier would carry no credentials.
  const int on = 1;
  if (setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
    return system_error("SO_PASSCRED", errno);
  }
  application.early_output = Descriptor(memfd_create("ftrun-early-output", MFD_CLOEXEC));
  if (!application.early_output.valid()) {
    return system_error("memfd_create for the application's first words", errno);
  }
  prepared.plan.early_output_fd = application.early_output.get();
  prepared.plan.status_fd = pair[1];
  FTRUN_TRY(start_init(&prepared, &application));
  far.reset();
  const Result<void> outcome = see_through(plan, &application);
  if (!outcome.ok()) {
    end(&application);
    return outcome.error();
  }
  return application;
}

void end(Application* application) {
  if (!application->init.valid()) {
    return;
  }
  syscall(SYS_pidfd_send_signal, application->init.get(), SIGKILL, nullptr, 0);
  siginfo_t info{};
  while (waitid(P_PIDFD, static_cast<id_t>(application->init.get()), &info, WEXITED) != 0 &&
         errno == EINTR) {
  }
  application->init.reset();
}

std::string early_words(const Application& application) {
  std::string text(kEarlyWordsBytesMax, '\0');
  const ssize_t got = pread(application.early_output.get(), text.data(), text.size(), 0);
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  while (text.ends_with('\n')) {
    text.pop_back();
  }
  return text;
}

Result<std::optional<StatusEvent>> read_status(int status_fd) {
  auto received = receive(status_fd);
  FTRUN_TRY(received);
  if (!received->has_value()) {
    return std::optional<StatusEvent>{};
  }
  auto event = status_event((*received)->message);
  FTRUN_TRY(event);
  return std::optional<StatusEvent>{*event};
}

int doorbell_number(const rlimit& descriptors) {
  const rlim_t last = descriptors.rlim_max == 0 ? 0 : descriptors.rlim_max - 1;
  return static_cast<int>(std::min<rlim_t>(kDoorbellFdMax, last));
}

rlimit application_descriptor_limits(const rlimit& descriptors) {
  const rlim_t cap = static_cast<rlim_t>(doorbell_number(descriptors)) - 1;  // the region's number
  return {std::min(descriptors.rlim_cur, cap), std::min(descriptors.rlim_max, cap)};
}

}  // namespace ftrun::process
