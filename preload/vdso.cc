// SPDX-License-Identifier: Apache-2.0
// Patches the vDSO, whose functions make no system call: every function of it jumps into the shim.
// libc calls it through pointers of its own, so interposing libc's names is not enough. Runs in the
// application, once, at start, before PR_SET_TSC (the vDSO's own rdtsc would fault).
#include "preload/vdso.h"

#include <elf.h>
#include <stdint.h>
#include <sys/mman.h>

#include "preload/env.h"
#include "preload/raw.h"

extern "C" {
#define FTRUN_STUB(name) __attribute__((visibility("hidden"))) void ftrun_vdso_##name()
FTRUN_STUB(clock_gettime);
FTRUN_STUB(gettimeofday);
FTRUN_STUB(time);
FTRUN_STUB(clock_getres);
FTRUN_STUB(getcpu);
FTRUN_STUB(getrandom);
#undef FTRUN_STUB
}

namespace ftrun::shim {
namespace {

struct Symbol {
  const char* name;
  void (*stub)();
};
// What tells a time, a random number or a processor. Names without the prefix are aliases at the
// same addresses.
const Symbol kSymbols[] = {
    {"__vdso_clock_gettime", &ftrun_vdso_clock_gettime},
    {"__vdso_gettimeofday", &ftrun_vdso_gettimeofday},
    {"__vdso_time", &ftrun_vdso_time},
    {"__vdso_clock_getres", &ftrun_vdso_clock_getres},
    {"__vdso_getcpu", &ftrun_vdso_getcpu},
    {"__vdso_getrandom", &ftrun_vdso_getrandom},
};

bool equal(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) {
    ++a;
    ++b;
  }
  return *a == *b;
}

// At a function's first instruction every scratch register but the arguments' is free.
// movabs $stub, %rax; jmp *%rax
void write_jump(uint8_t* at, void (*stub)()) {
  const auto target = reinterpret_cast<uint64_t>(stub);
  at[0] = 0x48;
  at[1] = 0xb8;
  __builtin_memcpy(at + 2, &target, sizeof(target));
  at[10] = 0xff;
  at[11] = 0xe0;
}

}  // namespace

void vdso_patch(uint64_t image) {
  // A kernel without vDSO (vdso=0): libc makes system calls then, which trap.
  if (image == 0) {
    return;
  }
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
  const auto* segments = reinterpret_cast<const Elf64_Phdr*>(image + header->e_phoff);
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image + header->e_shoff);
  uint64_t size = 0;
  for (int i = 0; i < header->e_phnum; ++i) {
    if (segments[i].p_type == PT_LOAD) {
      size = segments[i].p_offset + segments[i].p_memsz;
    }
  }
  size = (size + 4095) & ~uint64_t{4095};
  // The pages are shared by all processes of the host until they are written: the kernel then gives
  // this process copies, as for a debugger's breakpoints.
  if (raw(__NR_mprotect, image, size, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) {
    shim_fail("the vDSO cannot be made writable");
  }
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_DYNSYM) {
      continue;
    }
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(image + sections[i].sh_offset);
    const auto* names =
        reinterpret_cast<const char*>(image + sections[sections[i].sh_link].sh_offset);
    for (uint64_t s = 0; s < sections[i].sh_size / sizeof(Elf64_Sym); ++s) {
      for (const Symbol& symbol : kSymbols) {
        if (equal(names + symbols[s].st_name, symbol.name)) {
          write_jump(reinterpret_cast<uint8_t*>(image + symbols[s].st_value), symbol.stub);
        }
      }
    }
  }
  raw(__NR_mprotect, image, size, PROT_READ | PROT_EXEC);
}

}  // namespace ftrun::shim
