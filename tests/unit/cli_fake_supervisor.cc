// SPDX-License-Identifier: Apache-2.0
// Stands for ftrun-supervisor in the tests of ftrun and ftctl: it writes the files and answers the
// commands of a supervisor, and plays the script that the "program's" arguments give, word by word.
// No application, no replication.
//
//   out:TEXT    a line to stdout; err:TEXT to stderr
//   wait        for the next signal, and print it
//   exit:N      write exit status N, the end
//   flood:N     N lines of 1,000 letters to stdout
//   stall       (first word only) never start
//   fail:TEXT   (first word only) TEXT to stderr, exit code 1
//   die-if:ID   replica ID kills itself here, once all have started
//   outlive:ID  the others wait until ID is gone and publish view 2 without it
//   only:ID     the next word is for replica ID alone
//   hang        answer nothing from here on
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <deque>
#include <fstream>
#include <map>

#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "supervisor/arbiter/views.h"
#include "supervisor/members/founding.h"
#include "supervisor/operator/console_spool.h"
#include "supervisor/operator/control.h"
#include "supervisor/operator/run_dir.h"
#include "supervisor/process/proc_info.h"

namespace {

using namespace ftrun;

struct Fake {
  std::map<std::string, std::string> options;
  std::vector<std::string> script;
  std::string id;
  std::string run_dir;
  unit::View view;
  UnitMemory memory;
  ConsoleSpool console;
  std::unique_ptr<ControlServer> control;
  int epoll_fd = -1;
  std::deque<std::string> signals;

  void parse(int argc, char** argv);
  void start();
  void answer_for(int milliseconds);
  std::string answer(const std::string& line);
  void play();
  void step(const std::string& verb, const std::string& text);
  void print(int stream, const std::string& text);
  void outlive(const std::string& other);
  void wait_for_peers();
  void publish();
};

void Fake::parse(int argc, char** argv) {
  int i = 1;
  InheritedNumbers numbers;
  for (; i + 1 < argc; i += 2) {
    options[argv[i]] = argv[i + 1];
    if (std::string(argv[i]) == "--link") {
      numbers.links.push_back(argv[i + 1]);
    }
  }
  id = options["--replica"];
  numbers.memory = std::stoi(options["--unit-memory"]);
  numbers.console = std::stoi(options["--console"]);
  numbers.program = std::stoi(options["--program"]);
  auto inherited = take_inherited(*arbiter::replica_from_name(id),
                                  static_cast<unsigned>(std::stoi(options["--replicas"])), numbers);
  if (!inherited.ok()) {
    fmt::print(stderr, "{}\n", inherited.error().message);
    std::exit(1);
  }
  memory = std::move(inherited->memory);
  console = std::move(inherited->console);
  script.assign(inherited->program.begin() + 1, inherited->program.end());
  run_dir = options["--run-dir"];
}

void Fake::publish() {
  view = *memory.publish(view);
  view = *arbiter::Views(run_dir).publish(view);
}

void Fake::start() {
  const auto replicas = static_cast<unsigned>(std::stoi(options["--replicas"]));
  view = arbiter::first_view(replicas);
  publish();
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  control = std::move(*ControlServer::create(
      run_dir + "/sup." + id + ".sock", epoll_fd, 0,
      [this](const auto& line) { return answer(line); }, [](const auto&) {}));
  const nlohmann::json pids = {{"supervisor", getpid()}, {"keeper", 0}, {"application", 0}};
  const std::string path = run_dir + "/sup." + id + ".json";
  std::ofstream(path + ".tmp") << pids.dump();
  rename((path + ".tmp").c_str(), path.c_str());
}

std::string Fake::answer(const std::string& line) {
  const nlohmann::json request = nlohmann::json::parse(line);
  if (request["cmd"] == "signal") {
    const uint32_t sequence =
        request.value("seq", 0u) != 0 ? request["seq"].get<uint32_t>() : memory.next_signal();
    signals.push_back(fmt::format("signal {} sequence {}", request["number"].get<int>(), sequence));
    return fmt::format(R"({{"ok":true,"seq":{}}})", sequence);
  }
  const nlohmann::json status = {{"state", "live"}, {"app_pid", 77}, {"lsn", 5}};
  return status.dump();
}

void Fake::answer_for(int milliseconds) {
  epoll_event event{};
  if (epoll_wait(epoll_fd, &event, 1, milliseconds) == 1) {
    control->process(event);
  }
}

void Fake::print(int stream, const std::string& text) {
  const std::string line = text + "\n";
  console.append(stream, {reinterpret_cast<const uint8_t*>(line.data()), line.size()});
}

// Until the unit has started: all have said who they are.
void Fake::wait_for_peers() {
  for (const unit::ReplicaId replica : view.replicas) {
    const std::string path = run_dir + "/sup." + arbiter::replica_name(replica) + ".json";
    while (access(path.c_str(), F_OK) != 0) {
      answer_for(5);
    }
  }
}

void Fake::outlive(const std::string& other) {
  pid_t pid = 0;
  while (pid == 0) {
    std::ifstream file(run_dir + "/sup." + other + ".json");
    const nlohmann::json pids = nlohmann::json::parse(file, nullptr, false);
    pid = pids.is_object() ? pids["supervisor"].get<pid_t>() : 0;
    answer_for(5);
  }
  while (process::process_runs(pid, 0)) {
    answer_for(5);
  }
  RunDir(run_dir, id).events().write("suspected", "replica " + other + ": its supervisor died", 1);
  view.epoch = 2;
  view.replicas = {*arbiter::replica_from_name(id)};
  view.sender = view.replicas[0];
  publish();
}

void Fake::step(const std::string& verb, const std::string& text) {
  if (verb == "out" || verb == "err") {
    print(verb == "out" ? 1 : 2, text);
  } else if (verb == "flood") {
    for (int i = std::stoi(text); i > 0; --i) {
      print(1, std::string(999, 'x'));
    }
  } else if (verb == "wait") {
    while (signals.empty()) {
      answer_for(1000);
    }
    print(1, signals.front());
    signals.pop_front();
  } else if (verb == "die-if") {
    if (text == id) {
      wait_for_peers();
      raise(SIGKILL);
    }
  } else if (verb == "outlive") {
    outlive(text);
  } else if (verb == "exit") {
    std::ofstream(run_dir + "/exit_status." + id) << text << "\n";
    rename((run_dir + "/exit_status." + id).c_str(), (run_dir + "/exit_status").c_str());
    std::exit(0);
  } else if (verb == "hang") {
    for (;;) {
      pause();
    }
  }
}

void Fake::play() {
  for (size_t i = 0; i < script.size(); ++i) {
    const size_t colon = script[i].find(':');
    const std::string verb = script[i].substr(0, colon);
    const std::string text = colon == std::string::npos ? "" : script[i].substr(colon + 1);
    if (verb == "only") {
      i += text == id ? 0 : 1;
    } else {
      step(verb, text);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Fake fake;
  fake.parse(argc, argv);
  if (!fake.script.empty() && fake.script[0].starts_with("fail:")) {
    fmt::print(stderr, "ftrun-supervisor: {}\n", fake.script[0].substr(5));
    return 1;
  }
  while (!fake.script.empty() && fake.script[0] == "stall") {
    pause();
  }
  fake.start();
  fake.play();
  return 0;
}
