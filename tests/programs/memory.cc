// SPDX-License-Identifier: Apache-2.0
// An ordinary program: mappings of all kinds, moved, grown, protected, advised, asked about.
// Prints only what is the same in each run.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

namespace {

constexpr size_t kPage = 4096;

void* map(size_t bytes, void* at = nullptr, int flags = 0) {
  return mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

void mappings() {
  auto* area = static_cast<char*>(map(16 * kPage));
  memset(area, 1, 16 * kPage);
  printf("fixed: %d\n", map(2 * kPage, area + 4 * kPage, MAP_FIXED) == area + 4 * kPage);
  printf("zeroed %d, kept %d\n", area[4 * kPage], area[6 * kPage]);
  printf("taken: %d", map(kPage, area, MAP_FIXED_NOREPLACE) == MAP_FAILED);
  printf(" %s\n", strerror(errno));
  const int fd = open("/usr/include/stdio.h", O_RDONLY);
  auto* file = static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  char text[16];
  (void)!pread(fd, text, sizeof(text), 0);
  printf("file: %d\n", memcmp(file, text, sizeof(text)) == 0);
  file[0] = 'x';
  (void)!pread(fd, text, sizeof(text), 0);
  printf("private: %d\n", text[0] != 'x' || file[0] == text[0]);
  auto* shared = static_cast<char*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  shared[0] = 7;
  printf("shared anonymous: %d\n", shared[0]);
  printf("bad descriptor: %d", mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, 777, 0) == MAP_FAILED);
  printf(" %s\n", strerror(errno));
  printf("no length: %d", map(0) == MAP_FAILED);
  printf(" %s\n", strerror(errno));
  close(fd);
  munmap(area, 16 * kPage);
}

void moves() {
  auto* area = static_cast<char*>(map(4 * kPage));
  memset(area, 5, 4 * kPage);
  auto* wall = map(kPage, area + 4 * kPage, MAP_FIXED_NOREPLACE);
  printf("cannot grow in place: %d\n", mremap(area, 4 * kPage, 8 * kPage, 0) == MAP_FAILED);
  auto* moved = static_cast<char*>(mremap(area, 4 * kPage, 64 * kPage, MREMAP_MAYMOVE));
  printf("moved: kept %d, new %d\n", moved[4 * kPage - 1], moved[4 * kPage]);
  printf("shrunk in place: %d\n", mremap(moved, 64 * kPage, 2 * kPage, 0) == moved);
  auto* target = static_cast<char*>(map(2 * kPage));
  printf("moved where told: %d\n",
         mremap(moved, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
  auto* twin = static_cast<char*>(
      mremap(target, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr));
  printf("moved, old kept: twin %d, old %d\n", twin[0], target[0]);
  munmap(wall, kPage);
  munmap(twin, 2 * kPage);
  munmap(target, 2 * kPage);
}

void advice() {
  auto* area = static_cast<char*>(map(8 * kPage));
  memset(area, 9, 8 * kPage);
  printf("dontneed: %d", madvise(area, 2 * kPage, MADV_DONTNEED));
  printf(" %d %d\n", area[0], area[2 * kPage]);
  printf("free: %d", madvise(area + 2 * kPage, kPage, MADV_FREE));
  printf(" random %d bad %d\n", madvise(area, kPage, MADV_RANDOM), madvise(area, kPage, 999));
  unsigned char resident[8] = {};
  madvise(area, 8 * kPage, MADV_DONTNEED);
  area[3 * kPage] = 1;
  printf("mincore: %d", mincore(area, 8 * kPage, resident));
  printf(" %d %d\n", resident[0] & 1, resident[3] & 1);
  // More than a choice can carry at once.
  constexpr size_t kMany = 70000;
  void* large = map(kMany * kPage, nullptr, MAP_NORESERVE);
  static_cast<char*>(large)[(kMany - 1) * kPage] = 1;
  std::vector<unsigned char> pages(kMany, 255);
  printf("mincore of %zu pages: %d", kMany, mincore(large, kMany * kPage, pages.data()));
  printf(" %d %d\n", pages[0] & 1, pages[kMany - 1] & 1);
  munmap(large, kMany * kPage);
  printf("mincore of nothing: %d", mincore(large, kPage, pages.data()));
  printf(" %s\n", strerror(errno));
  printf("protect: %d\n", mprotect(area, kPage, PROT_READ));
  printf("lock: %d\n", mlock(area, kPage) == 0 || errno == ENOMEM || errno == EPERM);
  munmap(area, 8 * kPage);
}

void heap() {
  char* before = static_cast<char*>(sbrk(0));
  printf("sbrk: %d\n", sbrk(1 << 20) == before);
  before[100] = 3;
  printf("sbrk back: %d\n", sbrk(-(1 << 20)) == before + (1 << 20));
  std::vector<char*> blocks;
  for (size_t i = 0; i < 2000; ++i) {
    blocks.push_back(static_cast<char*>(malloc(i * 37 % 300000 + 1)));
    blocks.back()[0] = static_cast<char>(i);
  }
  int sum = 0;
  for (char* block : blocks) {
    sum += block[0];
    free(block);
  }
  printf("heap: %d\n", sum);
}

}  // namespace

int main() {
  mappings();
  moves();
  advice();
  heap();
  return 0;
}
