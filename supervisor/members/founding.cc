// SPDX-License-Identifier: Apache-2.0
// What supervisors inherit: see founding.h. Runs in ftrun and, at its start, in the supervisor.
#include "supervisor/members/founding.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "supervisor/arbiter/views.h"

extern char** environ;

namespace ftrun {

namespace {

using process::Descriptor;

constexpr size_t kProgramBytesMax = 8u << 20;  // more than execve(2) takes
constexpr int kConnectSeconds = 10;

using Pair = std::pair<Descriptor, Descriptor>;

sockaddr_in name_of(int fd, decltype(&getsockname) get) {
  sockaddr_in address{};
  socklen_t length = sizeof(address);
  get(fd, reinterpret_cast<sockaddr*>(&address), &length);
  return address;
}

bool same(const sockaddr_in& left, const sockaddr_in& right) {
  return left.sin_family == AF_INET && right.sin_family == AF_INET &&
         left.sin_port == right.sin_port && left.sin_addr.s_addr == right.sin_addr.s_addr;
}

// Both ends of one TCP connection. Whoever else connects in this moment is not at the other end
// and is turned away: addresses and ports of a connection are unique.
Result<Pair> tcp_pair() {
  const Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Descriptor one(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{kConnectSeconds, 0};
  if (!listener.valid() || !one.valid() ||
      bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener.get(), 128) != 0 ||
      setsockopt(listener.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
      setsockopt(one.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0) {
    return system_error("a link over loopback", errno);
  }
  address = name_of(listener.get(), &getsockname);
  if (connect(one.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return system_error("a link over loopback: connect", errno);
  }
  const sockaddr_in own = name_of(one.get(), &getsockname);
  for (;;) {
    Descriptor other(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!other.valid() && errno != ECONNABORTED && errno != EINTR) {
      return system_error("a link over loopback: accept", errno);
    }
    if (other.valid() && same(own, name_of(other.get(), &getpeername))) {
      return Pair(std::move(one), std::move(other));
    }
  }
}

Result<Pair> unix_pair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return system_error("a link: socketpair", errno);
  }
  return Pair(Descriptor(ends[0]), Descriptor(ends[1]));
}

Result<std::vector<std::string>> read_program(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0 || static_cast<size_t>(status.st_size) > kProgramBytesMax) {
    return system_error("--program: no file of arguments", errno);
  }
  std::string text(static_cast<size_t>(status.st_size), '\0');
  // At its own position: all supervisors have the same open file.
  if (pread(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return system_error("--program", errno);
  }
  std::vector<std::string> words;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\0', start), text.size());
    words.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return words.empty() ? Result<std::vector<std::string>>(Error{"--program: it names none"})
                       : Result<std::vector<std::string>>(std::move(words));
}

Result<Inherited::Link> take_link(const std::string& text) {
  Inherited::Link link;
  const std::optional<unit::ReplicaId> to = arbiter::replica_from_name(text.substr(0, 1));
  int fd = -1;
  const char* const end = text.data() + text.size();
  if (!to || text.size() < 3 || text[1] != '=' ||
      std::from_chars(text.data() + 2, end, fd).ptr != end) {
    return Error{"--link: not a replica and a descriptor: " + text};
  }
  int kind = 0;
  socklen_t length = sizeof(kind);
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length) != 0 || kind != SOCK_STREAM) {
    return Error{"--link: no connected socket: " + text};
  }
  link.to = *to;
  link.socket.reset(fd);
  return link;
}

}  // namespace

Result<Descriptor> program_file(const std::vector<std::string>& program) {
  std::string text;
  for (const std::string& word : program) {
    text += word;
    text += '\0';
  }
  Descriptor fd(memfd_create("ftrun-program", MFD_CLOEXEC));
  if (!fd.valid() ||
      write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return system_error("handing over the program's arguments", errno);
  }
  return fd;
}

Result<void> Founding::connect(unit::ReplicaId one, unit::ReplicaId other, bool tcp) {
  Result<Pair> pair = tcp ? tcp_pair() : unix_pair();
  if (!pair.ok()) {
    return pair.error();
  }
  links_.push_back({one, other, std::move(pair->first)});
  links_.push_back({other, one, std::move(pair->second)});
  return {};
}

Result<Founding> Founding::create(unsigned replicas, bool tcp,
                                  const std::vector<std::string>& program) {
  Founding founding;
  Result<UnitMemory> memory = UnitMemory::create();
  if (!memory.ok()) {
    return memory.error();
  }
  founding.memory_ = std::move(*memory);
  Result<Descriptor> arguments = program_file(program);
  if (!arguments.ok()) {
    return arguments.error();
  }
  founding.program_ = std::move(*arguments);
  for (unsigned replica = 0; replica < replicas; ++replica) {
    Result<ConsoleSpool> console = ConsoleSpool::create();
    if (!console.ok()) {
      return console.error();
    }
    founding.consoles_.push_back(std::move(*console));
  }
  for (unsigned one = 0; one < replicas; ++one) {
    for (unsigned other = one + 1; other < replicas; ++other) {
      FTRUN_TRY(founding.connect(static_cast<unit::ReplicaId>(one),
                                 static_cast<unit::ReplicaId>(other), tcp));
    }
  }
  return founding;
}

std::vector<std::string> Founding::options(unit::ReplicaId replica) const {
  std::vector<std::string> words = {"--unit-memory", std::to_string(memory_.fd()),
                                    "--console",     std::to_string(consoles_[replica].fd()),
                                    "--program",     std::to_string(program_.get())};
  for (const LinkEnd& link : links_) {
    if (link.of == replica) {
      words.insert(words.end(), {"--link", fmt::format("{}={}", arbiter::replica_name(link.to),
                                                       link.socket.get())});
    }
  }
  return words;
}

void Founding::pass_on(unit::ReplicaId replica) const {
  fcntl(memory_.fd(), F_SETFD, 0);
  fcntl(consoles_[replica].fd(), F_SETFD, 0);
  fcntl(program_.get(), F_SETFD, 0);
  for (const LinkEnd& link : links_) {
    if (link.of == replica) {
      fcntl(link.socket.get(), F_SETFD, 0);
    }
  }
}

Result<Inherited> take_inherited(unit::ReplicaId self, unsigned replicas,
                                 const InheritedNumbers& numbers) {
  Inherited inherited;
  const Descriptor arguments(numbers.program);
  Result<std::vector<std::string>> words = read_program(numbers.program);
  if (!words.ok()) {
    return words.error();
  }
  inherited.program = std::move(*words);
  Result<UnitMemory> attached = UnitMemory::attach(numbers.memory);
  if (!attached.ok()) {
    return attached.error();
  }
  inherited.memory = std::move(*attached);
  fcntl(numbers.memory, F_SETFD, FD_CLOEXEC);
  Result<ConsoleSpool> console = ConsoleSpool::attach(numbers.console);
  if (!console.ok()) {
    return console.error();
  }
  inherited.console = std::move(*console);
  fcntl(numbers.console, F_SETFD, FD_CLOEXEC);
  for (const std::string& text : numbers.links) {
    Result<Inherited::Link> link = take_link(text);
    if (!link.ok()) {
      return link.error();
    }
    const bool known = std::any_of(inherited.links.begin(), inherited.links.end(),
                                   [&](const auto& other) { return other.to == link->to; });
    if (known || link->to == self || link->to >= replicas) {
      return Error{"--link: not one to another replica, or a second one: " + text};
    }
    fcntl(link->socket.get(), F_SETFD, FD_CLOEXEC);
    inherited.links.push_back(std::move(*link));
  }
  if (inherited.links.size() + 1 != replicas) {
    return Error{fmt::format("--link: {} for {} replicas", inherited.links.size(), replicas)};
  }
  return inherited;
}

void hide_words(char** words, int count) {
  for (int i = 0; i < count; ++i) {
    explicit_bzero(words[i], std::strlen(words[i]));
  }
}

void hide_environment() {
  // For as long as the process lives: getenv() answers from here.
  static std::vector<std::string> copies;
  static std::vector<char*> pointers;
  int count = 0;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry, ++count) {
    copies.emplace_back(*entry);
  }
  for (std::string& copy : copies) {
    pointers.push_back(copy.data());
  }
  pointers.push_back(nullptr);
  char** const old = environ;
  environ = pointers.data();
  hide_words(old, count);
}

}  // namespace ftrun
