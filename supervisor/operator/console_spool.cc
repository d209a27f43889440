// SPDX-License-Identifier: Apache-2.0
// The console spool, writer and reader: see console_spool.h. Supervisor and ftrun.
#include "supervisor/operator/console_spool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "supervisor/base/memory_file.h"

namespace ftrun {

namespace {

constexpr size_t kFileBytes = kConsoleHeaderBytes + kConsoleRingBytes;

ConsoleHeader* header_of(uint8_t* memory) {
  return reinterpret_cast<ConsoleHeader*>(memory);
}
const ConsoleHeader* header_of(const uint8_t* memory) {
  return reinterpret_cast<const ConsoleHeader*>(memory);
}

bool is_spool(const uint8_t* memory) {
  return header_of(memory)->magic == kConsoleMagic &&
         header_of(memory)->capacity == kConsoleRingBytes;
}

bool sized(int fd) {
  struct stat status {};
  return fstat(fd, &status) == 0 && status.st_size == off_t{kFileBytes};
}

// Whether nobody can cut the file off below a mapping.
bool sealed(int fd) {
  const int seals = fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

}  // namespace

ConsoleSpool::ConsoleSpool(ConsoleSpool&& other) noexcept {
  *this = std::move(other);
}

ConsoleSpool& ConsoleSpool::operator=(ConsoleSpool&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(memory_, other.memory_);
  return *this;
}

ConsoleSpool::~ConsoleSpool() {
  if (memory_ != nullptr) {
    munmap(memory_, kFileBytes);
  }
  if (fd_ >= 0) {
    close(fd_);
  }
}

Result<void> ConsoleSpool::map() {
  void* memory = mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (memory == MAP_FAILED) {
    return system_error("the console's memory: mmap", errno);
  }
  memory_ = static_cast<uint8_t*>(memory);
  return {};
}

Result<ConsoleSpool> ConsoleSpool::create() {
  ConsoleSpool spool;
  const Result<int> file =
      make_memory_file("ftrun-console", kFileBytes, Allocated::kYes, "the console's memory");
  if (!file.ok()) {
    return file.error();
  }
  spool.fd_ = *file;
  FTRUN_TRY(spool.map());
  header_of(spool.memory_)->capacity = kConsoleRingBytes;
  header_of(spool.memory_)->magic = kConsoleMagic;
  return spool;
}

Result<ConsoleSpool> ConsoleSpool::attach(int fd) {
  ConsoleSpool spool;
  spool.fd_ = fd;
  if (!sized(fd) || !sealed(fd)) {
    return Error{"the console's memory: it is not that of this version"};
  }
  FTRUN_TRY(spool.map());
  if (!is_spool(spool.memory_)) {
    return Error{"the console's memory: bad magic"};
  }
  return spool;
}

std::string_view ConsoleSpool::contents() const {
  return {reinterpret_cast<const char*>(memory_), kFileBytes};
}

void ConsoleSpool::put(uint64_t position, const void* data, size_t bytes) {
  const size_t at = position % kConsoleRingBytes;
  const size_t first = std::min(bytes, kConsoleRingBytes - at);
  std::memcpy(memory_ + kConsoleHeaderBytes + at, data, first);
  std::memcpy(memory_ + kConsoleHeaderBytes, static_cast<const uint8_t*>(data) + first,
              bytes - first);
}

void ConsoleSpool::append(int stream, unit::Bytes data) {
  static_assert(kOutputDataBytesMax + kConsoleChunkHeaderBytes < kConsoleRingBytes / 2);
  FTRUN_ASSERT(data.size() <= kOutputDataBytesMax);
  ConsoleHeader* header = header_of(memory_);
  uint64_t position = header->position.load(std::memory_order_relaxed);
  uint8_t chunk[kConsoleChunkHeaderBytes] = {static_cast<uint8_t>(stream)};
  const uint32_t length = static_cast<uint32_t>(data.size());
  std::memcpy(chunk + 1, &length, sizeof(length));
  put(position, chunk, sizeof(chunk));
  put(position + sizeof(chunk), data.data(), data.size());
  header->position.store(position + sizeof(chunk) + data.size(), std::memory_order_release);
}

ConsoleReader::~ConsoleReader() {
  if (memory_ != nullptr) {
    munmap(const_cast<uint8_t*>(memory_), kFileBytes);
  }
}

Result<void> ConsoleReader::open(int fd) {
  const bool shared = sealed(fd);
  void* memory = MAP_FAILED;
  if (sized(fd)) {
    memory = mmap(nullptr, kFileBytes, shared ? PROT_READ : PROT_READ | PROT_WRITE,
                  shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, shared ? fd : -1, 0);
  }
  if (memory == MAP_FAILED) {
    return Error{"is not a console spool of this version"};
  }
  const bool read = shared || pread(fd, memory, kFileBytes, 0) == ssize_t{kFileBytes};
  if (!read || !is_spool(static_cast<const uint8_t*>(memory))) {
    munmap(memory, kFileBytes);
    return Error{"is not a console spool of this version"};
  }
  if (memory_ != nullptr) {
    munmap(const_cast<uint8_t*>(memory_), kFileBytes);
  }
  memory_ = static_cast<const uint8_t*>(memory);
  return {};
}

void ConsoleReader::get(uint64_t position, void* data, size_t bytes) const {
  const size_t at = position % kConsoleRingBytes;
  const size_t first = std::min(bytes, kConsoleRingBytes - at);
  std::memcpy(data, memory_ + kConsoleHeaderBytes + at, first);
  std::memcpy(static_cast<uint8_t*>(data) + first, memory_ + kConsoleHeaderBytes, bytes - first);
}

bool ConsoleReader::next(int* stream, std::string* data, uint64_t* lost) {
  *lost = 0;
  if (memory_ == nullptr) {
    return false;
  }
  const std::atomic<uint64_t>& end = header_of(memory_)->position;
  uint64_t seen = end.load(std::memory_order_acquire);
  if (seen <= position_) {  // smaller: this replica has not replayed that far yet
    return false;
  }
  uint8_t chunk[kConsoleChunkHeaderBytes];
  get(position_, chunk, sizeof(chunk));
  uint32_t length = 0;
  std::memcpy(&length, chunk + 1, sizeof(length));
  const bool plausible = (chunk[0] == 1 || chunk[0] == 2) && length <= kOutputDataBytesMax &&
                         seen - position_ >= sizeof(chunk) + length;
  if (plausible) {
    data->resize(length);
    get(position_ + sizeof(chunk), data->data(), length);
  }
  // The writer may be putting one chunk more than `position` says: leave room for the longest.
  std::atomic_thread_fence(std::memory_order_acquire);
  seen = end.load(std::memory_order_relaxed);
  const uint64_t safe = kConsoleRingBytes - kOutputDataBytesMax - kConsoleChunkHeaderBytes;
  if (!plausible || seen - position_ > safe) {
    // Chunk borders behind us are overwritten: nothing but the end is known to be one.
    *lost = seen - position_;
    position_ = seen;
    return false;
  }
  *stream = chunk[0];
  position_ += sizeof(chunk) + length;
  return true;
}

}  // namespace ftrun
