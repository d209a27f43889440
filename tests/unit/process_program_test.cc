// SPDX-License-Identifier: Apache-2.0
// What is refused before anything is started, and in which words.
#include "supervisor/process/program_check.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include <filesystem>
#include <fstream>

namespace ftrun::process {
namespace {

class Program : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/ftrun_program_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string file(const std::string& name, const std::string& content, mode_t mode = 0755) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << content;
    chmod(path.c_str(), mode);
    return path;
  }
  std::string elf(const std::string& name, unsigned char elf_class, uint16_t machine) {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = elf_class;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_machine = machine;
    header.e_type = ET_EXEC;
    return file(name, std::string(reinterpret_cast<const char*>(&header), sizeof header));
  }
  static std::string refusal(const Result<void>& result) {
    return result.ok() ? "(accepted)" : result.error().message;
  }
  std::string directory_;
};

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST_F(Program, ADynamicProgramIsAccepted) {
  EXPECT_EQ(refusal(check_program(PROBE)), "(accepted)");
  EXPECT_EQ(refusal(check_program("/bin/sh")), "(accepted)");
}

TEST_F(Program, AStaticOneIsRefused) {
  expect_contains(refusal(check_program(PROBE_STATIC)), "is statically linked");
}

TEST_F(Program, OtherMachinesAreRefused) {
  expect_contains(refusal(check_program(elf("i386", ELFCLASS32, EM_386))), "is a 32-bit program");
  expect_contains(refusal(check_program(elf("arm", ELFCLASS64, EM_AARCH64))),
                  "for another machine");
}

TEST_F(Program, OtherLoadersAreRefused) {
  std::ifstream in(PROBE, std::ios::binary);
  std::string image((std::istreambuf_iterator<char>(in)), {});
  const size_t at = image.find("/lib64/ld-linux-x86-64.so.2");
  ASSERT_NE(at, std::string::npos);
  image.replace(at, 27, "/lib64/ld-musl-x86_64.so.1\0", 27);
  expect_contains(refusal(check_program(file("musl", image))), "ld-musl-x86_64.so.1; only glibc");
}

TEST_F(Program, PrivilegesAreRefused) {
  std::filesystem::copy_file(PROBE, directory_ + "/raised");
  chmod((directory_ + "/raised").c_str(), 04755);
  expect_contains(refusal(check_program(directory_ + "/raised")), "is setuid");
  chmod((directory_ + "/raised").c_str(), 02755);
  expect_contains(refusal(check_program(directory_ + "/raised")), "is setgid");
}

TEST_F(Program, FileCapabilitiesAreRefused) {
  std::filesystem::copy_file(PROBE, directory_ + "/capable");
  // cap_net_bind_service, permitted (version 2, linux/capability.h).
  const uint32_t capability[5] = {0x02000000, 1u << 10, 0, 0, 0};
  if (setxattr((directory_ + "/capable").c_str(), "security.capability", capability,
               sizeof capability, 0) != 0) {
    ASSERT_TRUE(errno == EPERM || errno == ENOTSUP) << errno;
    return;  // only root can give capabilities, and not on every file system
  }
  expect_contains(refusal(check_program(directory_ + "/capable")), "has file capabilities");
}

TEST_F(Program, FormatsThatExecveRefusesAreRefused) {
  expect_contains(refusal(check_program(file("text", "echo hello\n"))), "Exec format error");
  expect_contains(refusal(check_program(file("empty", ""))), "Exec format error");
  expect_contains(refusal(check_program(directory_)), "is a directory");
  expect_contains(refusal(check_program(directory_ + "/none")), "No such file or directory");
}

TEST_F(Program, ScriptsAreFollowed) {
  EXPECT_EQ(refusal(check_program(file("good", "#! /bin/sh -e\nexit\n"))), "(accepted)");
  const std::string bad = file("bad", "#!" PROBE_STATIC "\n");
  expect_contains(refusal(check_program(bad)), "is statically linked");
  expect_contains(refusal(check_program(bad)), "(the interpreter of " + bad + ")");
  expect_contains(refusal(check_program(file("none", "#!/does/not/exist\n"))),
                  "/does/not/exist: No such file");
  expect_contains(refusal(check_program(file("nameless", "#! \n/bin/sh"))), "names no interpreter");
  expect_contains(refusal(check_program(file("self", "#!" + directory_ + "/self\n"))),
                  "too many interpreters");
}

TEST_F(Program, PathIsSearchedAsExecvpDoes) {
  file("tool", "#!/bin/sh\n");
  file("shut", "#!/bin/sh\n", 0644);
  const std::string path = "/does/not/exist:" + directory_ + ":/bin";
  EXPECT_EQ(*find_program("tool", path), directory_ + "/tool");
  EXPECT_EQ(*find_program("sh", path), "/bin/sh");
  expect_contains(find_program("none", path).error().message, "none: not found in PATH (");
  EXPECT_EQ(*find_program(directory_ + "/tool", ""), directory_ + "/tool");
  expect_contains(find_program("./none/such", path).error().message, "No such file");
  expect_contains(find_program("", path).error().message, "name is empty");
  expect_contains(find_program("shut", path).error().message, "is not executable");
}

TEST_F(Program, ThisKernelHasWhatIsNeeded) {
  EXPECT_EQ(refusal(check_kernel()), "(accepted)");
}

}  // namespace
}  // namespace ftrun::process
