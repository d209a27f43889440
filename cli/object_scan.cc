// SPDX-License-Identifier: Apache-2.0
// See object_scan.h. A file may be damaged: every offset in it is checked before it is followed.
#include "cli/object_scan.h"

#include <cxxabi.h>
#include <elf.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>

#include "fmt/format.h"

namespace ftrun::cli {
namespace {

using Bytes = std::vector<uint8_t>;

struct Symbol {
  uint64_t begin = 0;
  uint64_t size = 0;
  std::string name;
};

struct CodeRange {
  uint64_t offset = 0;  // in the file
  uint64_t address = 0;
  uint64_t size = 0;
};

template <typename T>
bool read_at(const Bytes& file, uint64_t offset, T* value) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) {
    return false;
  }
  std::memcpy(value, file.data() + offset, sizeof(T));
  return true;
}

bool inside(const Bytes& file, uint64_t offset, uint64_t size) {
  return offset <= file.size() && size <= file.size() - offset;
}

std::vector<Elf64_Shdr> sections_of(const Bytes& file, const Elf64_Ehdr& header) {
  std::vector<Elf64_Shdr> sections;
  for (uint64_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    if (read_at(file, header.e_shoff + i * sizeof section, &section)) {
      sections.push_back(section);
    }
  }
  return sections;
}

// Executable sections; a file without section headers is known by its segments only.
std::vector<CodeRange> code_of(const Bytes& file, const Elf64_Ehdr& header,
                               const std::vector<Elf64_Shdr>& sections) {
  std::vector<CodeRange> code;
  for (const Elf64_Shdr& section : sections) {
    if ((section.sh_flags & SHF_EXECINSTR) != 0 && section.sh_type == SHT_PROGBITS &&
        inside(file, section.sh_offset, section.sh_size)) {
      code.push_back({section.sh_offset, section.sh_addr, section.sh_size});
    }
  }
  for (uint64_t i = 0; code.empty() && i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (read_at(file, header.e_phoff + i * sizeof segment, &segment) && segment.p_type == PT_LOAD &&
        (segment.p_flags & PF_X) != 0 && inside(file, segment.p_offset, segment.p_filesz)) {
      code.push_back({segment.p_offset, segment.p_vaddr, segment.p_filesz});
    }
  }
  return code;
}

// Functions that the file wants from others, as far as they are doubtful.
std::vector<std::string> doubtful_imports(const Bytes& file,
                                          const std::vector<Elf64_Shdr>& sections) {
  std::vector<std::string> found;
  for (const Elf64_Shdr& table : sections) {
    if (table.sh_type != SHT_DYNSYM || table.sh_link >= sections.size() ||
        !inside(file, table.sh_offset, table.sh_size)) {
      continue;
    }
    const Elf64_Shdr& strings = sections[table.sh_link];
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= table.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      if (!read_at(file, table.sh_offset + at, &symbol) || symbol.st_shndx != SHN_UNDEF ||
          symbol.st_name >= strings.sh_size || !inside(file, strings.sh_offset, strings.sh_size)) {
        continue;
      }
      const auto* name =
          reinterpret_cast<const char*>(file.data() + strings.sh_offset + symbol.st_name);
      const std::string_view text(name, strnlen(name, strings.sh_size - symbol.st_name));
      if (is_doubtful_function(text)) {
        found.emplace_back(text);
      }
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Whether the file has OpenSSL inside, which ftrun tells not to use RDRAND and RDSEED.
bool contains_openssl(const Bytes& file) {
  static constexpr std::string_view kVariable = "OPENSSL_ia32cap";
  return std::search(file.begin(), file.end(), kVariable.begin(), kVariable.end()) != file.end();
}

std::string readable(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

std::vector<Symbol> functions_of(const Bytes& file, const std::vector<Elf64_Shdr>& sections) {
  std::vector<Symbol> functions;
  for (const Elf64_Shdr& table : sections) {
    if ((table.sh_type != SHT_SYMTAB && table.sh_type != SHT_DYNSYM) ||
        table.sh_link >= sections.size() || !inside(file, table.sh_offset, table.sh_size)) {
      continue;
    }
    const Elf64_Shdr& strings = sections[table.sh_link];
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= table.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      if (!read_at(file, table.sh_offset + at, &symbol) ||
          ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_value == 0 ||
          symbol.st_name >= strings.sh_size || !inside(file, strings.sh_offset, strings.sh_size)) {
        continue;
      }
      const auto* name =
          reinterpret_cast<const char*>(file.data() + strings.sh_offset + symbol.st_name);
      functions.push_back({symbol.st_value, symbol.st_size,
                           std::string(name, strnlen(name, strings.sh_size - symbol.st_name))});
    }
  }
  std::stable_sort(functions.begin(), functions.end(),
                   [](const Symbol& a, const Symbol& b) { return a.begin < b.begin; });
  return functions;
}

// The nearest function that begins at or before `address` and, if it has a size, reaches it.
std::string function_at(const std::vector<Symbol>& functions, uint64_t address, uint64_t offset) {
  auto next = std::upper_bound(functions.begin(), functions.end(), address,
                               [](uint64_t at, const Symbol& symbol) { return at < symbol.begin; });
  if (next != functions.begin()) {
    const Symbol& symbol = *std::prev(next);
    if (symbol.size == 0 || address - symbol.begin < symbol.size) {
      return readable(symbol.name.c_str());
    }
  }
  return fmt::format("offset {:#x}", offset);
}

void count_use(ObjectScan* scan, const std::string& function, Instruction instruction) {
  for (FunctionUse& use : scan->uses) {
    if (use.function == function && use.instruction == instruction) {
      ++use.places;
      return;
    }
  }
  scan->uses.push_back({function, instruction, 1});
}

}  // namespace

bool is_doubtful_function(std::string_view name) {
  static constexpr std::string_view kDoubtful[] = {
      "connect",  "execl",       "execle",       "execlp",       "execv",    "execve",
      "execvp",   "execvpe",     "fexecve",      "fork",         "mq_open",  "msgget",
      "popen",    "posix_spawn", "posix_spawnp", "ptrace",       "semget",   "sem_open",
      "shm_open", "shmget",      "signalfd",     "socketpair",   "system",   "timer_create",
      "vfork",    "wordexp",     "daemon",       "inotify_init", "sendmmsg", "recvmmsg"};
  return std::find(std::begin(kDoubtful), std::end(kDoubtful), name) != std::end(kDoubtful);
}

Result<ObjectScan> scan_object(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    return system_error(path, errno);
  }
  const Bytes file{std::istreambuf_iterator<char>(stream), {}};
  Elf64_Ehdr header;
  if (!read_at(file, 0, &header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) {
    return Error{path + ": not an ELF file for x86-64"};
  }
  const std::vector<Elf64_Shdr> sections = sections_of(file, header);
  const std::vector<Symbol> functions = functions_of(file, sections);
  ObjectScan scan;
  scan.path = path;
  scan.doubtful = doubtful_imports(file, sections);
  scan.has_openssl = contains_openssl(file);
  for (const CodeRange& range : code_of(file, header, sections)) {
    const std::span<const uint8_t> code(file.data() + range.offset, range.size);
    for (const InstructionHit& hit : scan_instructions(code)) {
      if (hit.decoded) {
        count_use(&scan,
                  function_at(functions, range.address + hit.offset, range.offset + hit.offset),
                  hit.instruction);
      } else {
        scan.undecoded += escapes_log(hit.instruction) ? 1 : 0;
      }
    }
  }
  return scan;
}

std::vector<std::string> mapped_objects(pid_t pid) {
  std::vector<std::string> objects;
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  for (std::string line; std::getline(maps, line);) {
    // "begin-end r-xp offset device inode   path"
    const size_t permissions = line.find(' ');
    const size_t path = line.find('/');
    if (permissions == std::string::npos || path == std::string::npos ||
        line.size() < permissions + 4 || line[permissions + 3] != 'x') {
      continue;
    }
    const std::string object = line.substr(path);
    if (std::find(objects.begin(), objects.end(), object) == objects.end()) {
      objects.push_back(object);
    }
  }
  return objects;
}

std::string harmless_because(const std::string& path) {
  struct Known {
    const char* prefix;
    const char* why;
  };
  static constexpr Known kKnown[] = {
      {"libftpreload.so", "ftrun's own"},
      {"ld-linux-x86-64.so.", "the loader: measures its own time only"},
      {"libc.so.", "the C library: ftrun answers its clocks and random numbers"},
      {"libcrypto.so.", "OpenSSL: told by ftrun not to use RDRAND and RDSEED (OPENSSL_ia32cap)"},
  };
  const std::string name = path.substr(path.rfind('/') + 1);
  for (const Known& known : kKnown) {
    if (name.starts_with(known.prefix)) {
      return known.why;
    }
  }
  return "";
}

}  // namespace ftrun::cli
