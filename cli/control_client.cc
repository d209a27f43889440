// SPDX-License-Identifier: Apache-2.0
#include "cli/control_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "cli/unit_dir.h"
#include "cli/unit_status.h"
#include "fmt/format.h"
#include "supervisor/arbiter/views.h"
#include "supervisor/base/json_fields.h"
#include "supervisor/process/launch.h"

namespace ftrun::cli {
namespace {

using Clock = std::chrono::steady_clock;
using process::Descriptor;

constexpr size_t kAnswerBytesMax = 1 << 20;
constexpr int kStartTimeoutMs = 2'000;

Result<Descriptor> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error{path + " is too long for a socket's name"};
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() ||
      connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return system_error(path, errno);
  }
  return fd;
}

// Waits for `events`; false at the deadline.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd waited{fd, events, 0};
    const int ready = left <= 0 ? 0 : poll(&waited, 1, static_cast<int>(left));
    if (ready >= 0 || errno != EINTR) {
      return ready > 0;
    }
  }
}

Result<std::string> read_line(const std::string& path, int fd, Clock::time_point deadline) {
  std::string line;
  while (line.find('\n') == std::string::npos) {
    if (!wait_for(fd, POLLIN, deadline)) {
      return Error{path + ": no answer (is the supervisor stopped?)", ETIMEDOUT};
    }
    char buffer[4096];
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
      return system_error(path, got == 0 ? ECONNRESET : errno);
    }
    line.append(buffer, got < 0 ? 0 : static_cast<size_t>(got));
    if (line.size() > kAnswerBytesMax) {
      return Error{path + ": the answer is too long"};
    }
  }
  return line.substr(0, line.find('\n'));
}

// Whether a replica of the view is still on its way to its control socket. One that has ended is
// not.
bool is_starting(const std::string& run_dir, const std::string& id) {
  if (access(fmt::format("{}/sup.{}.sock", run_dir, id).c_str(), F_OK) == 0) {
    return false;
  }
  const auto files = read_replica_files(run_dir);
  if (!files.ok()) {
    return false;
  }
  for (const ReplicaFile& file : *files) {
    if (file.id == id) {
      return belongs_to(file.supervisor, run_dir);
    }
  }
  return true;
}

// A signal that only some of the replicas could take would be lost with them: gives a unit that is
// just starting the time to be there.
void wait_until_started(const std::string& run_dir) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(kStartTimeoutMs);
  const auto view = arbiter::Views(run_dir).current();
  if (!view.ok() || !view->has_value()) {
    return;
  }
  for (const unit::ReplicaId replica : (*view)->replicas) {
    while (is_starting(run_dir, arbiter::replica_name(replica)) && Clock::now() < deadline) {
      poll(nullptr, 0, 5);
    }
  }
}

}  // namespace

Result<nlohmann::json> ask(const std::string& path, const ControlRequest& request, int timeout_ms) {
  auto fd = connect_to(path);
  FTRUN_TRY(fd);
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  const std::string line = encode_request(request) + "\n";
  // Short enough for any socket buffer: one send takes it all.
  if (send(fd->get(), line.data(), line.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(line.size())) {
    return system_error(path, errno);
  }
  auto answer = read_line(path, fd->get(), deadline);
  FTRUN_TRY(answer);
  Result<nlohmann::json> json = decode_answer(*answer);
  return json.ok() ? std::move(json) : Error{path + " " + json.error().message};
}

Result<void> send_signal(const std::string& run_dir, int number, uint32_t sequence,
                         std::vector<std::string>* unreached) {
  wait_until_started(run_dir);
  size_t reached = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(run_dir, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("sup.") || !name.ends_with(".sock")) {
      continue;
    }
    const auto answer = ask(entry.path(), {ControlCommand::kSignal, number, sequence});
    if (answer.ok()) {
      ++reached;
      sequence = field_or(*answer, "seq", sequence);
    } else {
      unreached->push_back(answer.error().message);
    }
  }
  if (error) {
    return system_error(run_dir, error.value());
  }
  return reached > 0 ? Result<void>() : Error{"no supervisor of the unit took the signal"};
}

}  // namespace ftrun::cli
