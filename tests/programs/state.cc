// SPDX-License-Identifier: Apache-2.0
// An ordinary program that keeps files in the directory it is given: writes, renames, reads back,
// compares inode numbers and times with what it saw before. Prints only what is the same in each
// run.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc != 2 || chdir(argv[1]) != 0) {
    return 2;
  }
  mkdir("sub", 0700);
  const int fd = open("sub/file.tmp", O_CREAT | O_RDWR | O_TRUNC, 0600);
  printf("wrote %zd\n", write(fd, "hello state", 11));
  fsync(fd);
  struct stat before;
  struct stat after;
  fstat(fd, &before);
  printf("renamed %d\n", rename("sub/file.tmp", "sub/file"));
  stat("sub/file", &after);
  printf("same inode %d, same time %d, size %ld\n", before.st_ino == after.st_ino,
         before.st_mtim.tv_nsec == after.st_mtim.tv_nsec, static_cast<long>(after.st_size));
  char text[32] = {};
  printf("read %zd %s\n", pread(fd, text, sizeof(text), 6), text);
  printf("truncated %d\n", ftruncate(fd, 3));
  DIR* directory = opendir("sub");
  int entries = 0;
  while (readdir(directory) != nullptr) {
    entries++;
  }
  closedir(directory);
  printf("entries %d\n", entries);
  printf("unlinked %d %d\n", unlink("sub/file"), rmdir("sub"));
  close(fd);
  return 0;
}
