// SPDX-License-Identifier: Apache-2.0
// Call stacks of another process: all its threads, with names; it goes on unharmed; what is gone or
// hangs does no harm. Starts processes of its own.
#include "supervisor/process/call_stacks.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <string>
#include <thread>

extern "C" __attribute__((noinline)) void wait_in_a_named_place(int fd) {
  char byte;
  while (read(fd, &byte, 1) < 0) {
  }
  __asm__ volatile("" ::: "memory");  // no tail call: this frame stays
}

namespace ftrun::process {
namespace {

// A process with two threads that wait until `input` is closed, and then exit with 7.
pid_t start_waiting_process(int input, int unused_end) {
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(unused_end);
    std::thread other(wait_in_a_named_place, input);
    wait_in_a_named_place(input);
    other.join();
    _exit(7);
  }
  return pid;
}

std::string read_all(StackReader* reader) {
  while (reader->running()) {
    pollfd readable{reader->fd(), POLLIN, 0};
    poll(&readable, 1, 10);
    reader->read();
  }
  return reader->text();
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) {
    ++found;
  }
  return found;
}

size_t threads_of(pid_t pid) {
  const std::filesystem::directory_iterator tasks("/proc/" + std::to_string(pid) + "/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

TEST(CallStacks, NamesEveryThreadsFramesAndLetsTheProcessGoOn) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t pid = start_waiting_process(ends[0], ends[1]);
  StackReader reader;
  std::string text;
  for (int i = 0; i < 500 && count(text, "wait_in_a_named_place+0x") < 2; ++i) {
    ASSERT_TRUE(reader.start(pid).ok());
    text = read_all(&reader);
  }
  EXPECT_EQ(count(text, "wait_in_a_named_place+0x"), 2u) << text;
  // Every thread that the kernel lists: two, and those of a sanitizer's runtime.
  EXPECT_EQ(count(text, " in its namespace)"), threads_of(pid)) << text;
  EXPECT_NE(text.find("process_tests+0x"), std::string::npos) << text;
  close(ends[0]);
  close(ends[1]);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

TEST(CallStacks, AProcessThatIsGoneHasNone) {
  const pid_t pid = fork();
  if (pid == 0) {
    _exit(0);
  }
  waitpid(pid, nullptr, 0);
  StackReader reader;
  ASSERT_TRUE(reader.start(pid).ok());
  EXPECT_EQ(read_all(&reader), "");
}

TEST(CallStacks, AReaderThatIsStoppedLetsTheProcessGoOn) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t pid = start_waiting_process(ends[0], ends[1]);
  for (int wait_ms = 0; wait_ms < 8; ++wait_ms) {
    StackReader reader;
    ASSERT_TRUE(reader.start(pid).ok());
    poll(nullptr, 0, wait_ms);
    reader.stop();
    EXPECT_FALSE(reader.running());
  }
  close(ends[0]);
  close(ends[1]);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

}  // namespace
}  // namespace ftrun::process
