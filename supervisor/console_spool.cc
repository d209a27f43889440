// SPDX-License-Identifier: Apache-2.0
// The console spool, writer and reader: see console_spool.h. Supervisor and ftrun.
#include "supervisor/console_spool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ftrun {

namespace {

constexpr size_t kFileBytes = kConsoleHeaderBytes + kConsoleRingBytes;

ConsoleHeader* header_of(uint8_t* memory) {
  return reinterpret_cast<ConsoleHeader*>(memory);
}
const ConsoleHeader* header_of(const uint8_t* memory) {
  return reinterpret_cast<const ConsoleHeader*>(memory);
}

}  // namespace

ConsoleSpool::ConsoleSpool(ConsoleSpool&& other) noexcept {
  *this = std::move(other);
}

ConsoleSpool& ConsoleSpool::operator=(ConsoleSpool&& other) noexcept {
  std::swap(memory_, other.memory_);
  return *this;
}

ConsoleSpool::~ConsoleSpool() {
  if (memory_ != nullptr) {
    munmap(memory_, kFileBytes);
  }
}

Result<ConsoleSpool> ConsoleSpool::create(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    return system_error(path, errno);
  }
  // Allocated at once: a full disk is an error here and not a SIGBUS later.
  const int error = posix_fallocate(fd, 0, kFileBytes);
  void* memory = error == 0 ? mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                            : MAP_FAILED;
  const int mapping_error = error == 0 ? errno : error;
  close(fd);
  if (memory == MAP_FAILED) {
    return system_error(path, mapping_error);
  }
  ConsoleSpool spool;
  spool.memory_ = static_cast<uint8_t*>(memory);
  header_of(spool.memory_)->capacity = kConsoleRingBytes;
  header_of(spool.memory_)->magic = kConsoleMagic;
  return spool;
}

Result<void> ConsoleSpool::renew(const std::string& path) {
  Result<ConsoleSpool> spool = create(path);
  if (!spool.ok()) {
    return spool.error();
  }
  std::memcpy(spool->memory_, memory_, kFileBytes);
  *this = std::move(*spool);
  return {};
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

Result<void> ConsoleReader::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return system_error(path, errno);
  }
  struct stat status {};
  const bool sized = fstat(fd, &status) == 0 && static_cast<size_t>(status.st_size) == kFileBytes;
  void* memory = sized ? mmap(nullptr, kFileBytes, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
  close(fd);
  if (memory == MAP_FAILED) {
    return Error{path + ": is not a console spool of this version"};
  }
  const auto* bytes = static_cast<const uint8_t*>(memory);
  if (header_of(bytes)->magic != kConsoleMagic || header_of(bytes)->capacity != kConsoleRingBytes) {
    munmap(memory, kFileBytes);
    return Error{path + ": is not a console spool of this version"};
  }
  if (memory_ != nullptr) {
    munmap(const_cast<uint8_t*>(memory_), kFileBytes);
  }
  memory_ = bytes;
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
