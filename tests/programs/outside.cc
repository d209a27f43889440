// SPDX-License-Identifier: Apache-2.0
// An ordinary program that tries what fails anyway, outside its state directories: makes
// directories that exist, opens what does not. The kernel's errors are the right ones then. With an
// argument it tries what would write there: everything is refused.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace {

void say(const char* what, long result) {
  printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "done");
}

constexpr char kNone[] = "/usr/no-such-file";
constexpr char kDirectory[] = "/usr/bin";
constexpr char kFile[] = "/usr/bin/env";

void creating() {
  say("mkdir of a directory", mkdir(kDirectory, 0755));
  say("mkdir of a file", mkdir(kFile, 0755));
  say("mkdir of the root", mkdir("/", 0755));
  say("mkdir with a slash", mkdir("/usr/bin/", 0755));
  say("mkdir in nothing", mkdir("/usr/no-such-directory/a", 0755));
  say("mkdir in a file", mkdir("/usr/bin/env/a", 0755));
  say("mkdir of no name", mkdir("", 0755));
  say("mkdirat of a directory", mkdirat(open(kDirectory, O_RDONLY), "../bin", 0755));
  say("mkdirat of a bad descriptor", mkdirat(99, "a", 0755));
  say("symlink over a file", symlink("a", kFile));
  say("link over a file", link(kFile, "/usr/bin/id"));
  say("exclusive create", open(kFile, O_CREAT | O_EXCL | O_WRONLY, 0644));
  say("a name too long", mkdir(("/usr/" + std::string(300, 'a')).c_str(), 0755));
}

void opening() {
  say("open of nothing", open(kNone, O_WRONLY));
  say("open of nothing to cut", open(kNone, O_WRONLY | O_TRUNC));
  say("open of a directory", open(kDirectory, O_WRONLY));
  say("open of a directory to create", open(kDirectory, O_RDONLY | O_CREAT, 0644));
  say("open in nothing", open("/usr/no-such-directory/a", O_CREAT | O_WRONLY, 0644));
  say("open in a file", open("/usr/bin/env/a", O_CREAT | O_WRONLY, 0644));
  say("open of a file as a directory", open(kFile, O_WRONLY | O_DIRECTORY));
  say("open of a link that is not followed", open("/proc/self/exe", O_WRONLY | O_NOFOLLOW));
  say("open of what is there, to read", open(kFile, O_RDONLY | O_CREAT, 0644));
  say("openat of a bad descriptor", openat(99, "a", O_WRONLY));
  say("a temporary in nothing", open("/usr/no-such-directory", O_TMPFILE | O_RDWR, 0600));
}

void changing() {
  say("chmod of nothing", chmod(kNone, 0600));
  say("chown of nothing", chown(kNone, 0, 0));
  say("truncate of nothing", truncate(kNone, 0));
  say("truncate of a directory", truncate(kDirectory, 0));
  say("times of nothing", utimensat(AT_FDCWD, kNone, nullptr, 0));
  say("unlink of nothing", unlink(kNone));
  say("unlink of a directory", unlink(kDirectory));
  say("rmdir of nothing", rmdir(kNone));
  say("rmdir of a file", rmdir(kFile));
  say("rename of nothing", rename(kNone, "/usr/other"));
}

// Natively a file system that is mounted read-only answers so.
void refused() {
  say("mkdir", mkdir("/usr/made-by-a-test", 0755));
  say("create", open("/usr/made-by-a-test", O_CREAT | O_WRONLY, 0644));
  say("symlink", symlink("a", "/usr/made-by-a-test"));
  say("chmod", chmod(kFile, 0755));
  say("fchmod", fchmod(open(kFile, O_RDONLY), 0755));
  say("temporary", open("/usr", O_TMPFILE | O_RDWR, 0600));
}

}  // namespace

int main(int argc, char**) {
  if (argc > 1) {
    refused();
    return 0;
  }
  creating();
  opening();
  changing();
  return 0;
}
