// SPDX-License-Identifier: Apache-2.0
// The environment of a new image: see program.h. A pure function of what the application gives and
// of the region, so it is equal in all replicas. Runs in the application with the token held; no
// libc.
#include <errno.h>

#include "preload/doors.h"
#include "preload/exec/program.h"
#include "preload/guarded.h"

namespace ftrun::shim {
namespace {

constexpr size_t kStringBytesMax = 128 * 1024;  // the kernel's MAX_ARG_STRLEN
constexpr size_t kSettingsMax = 8;

size_t length_of(const char* text) {
  size_t n = 0;
  while (text[n] != '\0') {
    ++n;
  }
  return n;
}

// The length of "NAME=", or 0.
size_t name_length(const char* entry) {
  size_t n = 0;
  while (entry[n] != '\0' && entry[n] != '=') {
    ++n;
  }
  return entry[n] == '=' ? n + 1 : 0;
}

bool begins_with(const char* text, const char* start, size_t length) {
  for (size_t i = 0; i < length; ++i) {
    if (text[i] != start[i]) {
      return false;
    }
  }
  return true;
}

bool contains(const char* text, const char* part) {
  const size_t length = length_of(part);
  for (; *text != '\0'; ++text) {
    if (begins_with(text, part, length)) {
      return true;
    }
  }
  return length == 0;
}

bool is_named(const char* entry, const char* name) {
  return begins_with(entry, name, length_of(name));
}

// Joined strings: two at most are needed, and each fits.
struct Joiner {
  char* next = nullptr;

  // first + ':' + second, or null if that is too long for a string of an environment.
  char* join(const char* first, const char* second) {
    static char* memory = nullptr;
    if (memory == nullptr) {
      memory = static_cast<char*>(arena_alloc(2 * kStringBytesMax, 4096));
    }
    next = next == nullptr ? memory : next;
    const size_t one = length_of(first);
    const size_t two = length_of(second);
    if (one + two + 2 > kStringBytesMax || next + one + two + 2 > memory + 2 * kStringBytesMax) {
      return nullptr;
    }
    char* joined = next;
    __builtin_memcpy(joined, first, one);
    joined[one] = ':';
    __builtin_memcpy(joined + one + 1, second, two + 1);
    next += one + two + 2;
    return joined;
  }
};

// `ours` is the variable that the application gives as `entry`; `given` is our copy of that. As
// supervisor/process/environment.h, as far as it goes without arithmetic: an OPENSSL_ia32cap of the
// application's own gives way to ours. Null: too long.
char* merged(char* entry, const char* given, const char* ours, Joiner* joiner) {
  const size_t name = name_length(ours);
  const char* value = given + name;
  const char* wanted = ours + name;
  char* const kept = entry;
  char* const replaced = const_cast<char*>(ours);
  if (is_named(ours, "LD_PRELOAD=")) {
    const size_t length = length_of(wanted);
    const bool first = begins_with(value, wanted, length) &&
                       (value[length] == '\0' || value[length] == ':' || value[length] == ' ');
    return first ? kept : value[0] == '\0' ? replaced : joiner->join(ours, value);
  }
  if (is_named(ours, "GLIBC_TUNABLES=")) {
    return contains(value, wanted) ? kept
           : value[0] == '\0'      ? replaced
                                   : joiner->join(given, wanted);  // the last of a name counts
  }
  if (is_named(ours, "LD_BIND_NOW=")) {
    return value[0] != '\0' ? kept : replaced;
  }
  return replaced;
}

// An array of at least `count` pointers; the last one's memory, if it is large enough.
char** pointers(size_t count) {
  static char** room = nullptr;
  static size_t capacity = 0;
  if (count > capacity) {
    capacity = count * 2;
    room = static_cast<char**>(arena_alloc(capacity * sizeof(char*), alignof(char*)));
  }
  return room;
}

}  // namespace

namespace {

struct Settings {
  const char* entries[kSettingsMax];
  bool seen[kSettingsMax] = {};
  size_t count = 0;

  Settings() {
    for (const char* entry = doors_control()->preload_environment; *entry != '\0';
         entry += length_of(entry) + 1) {
      entries[count++] = entry;
    }
  }
  // What becomes of an entry of the application's.
  char* take(char* entry, const char* given, Joiner* joiner) {
    for (size_t i = 0; i < count; ++i) {
      if (begins_with(given, entries[i], name_length(entries[i]))) {
        // Of several with one name all but the first become ours: which one counts is the reader's.
        char* result =
            seen[i] ? const_cast<char*>(entries[i]) : merged(entry, given, entries[i], joiner);
        seen[i] = true;
        return result;
      }
    }
    return entry;
  }
};

// How many entries `given` has, or -EFAULT.
long count_entries(char* const* given) {
  for (long count = 0; given != nullptr; ++count) {
    char* entry = nullptr;
    if (!get_in(&entry, given + count)) {
      return -EFAULT;
    }
    if (entry == nullptr) {
      return count;
    }
  }
  return 0;
}

}  // namespace

long exec_environment(char* const* given, char*** out) {
  static char* copy = nullptr;
  if (copy == nullptr) {
    copy = static_cast<char*>(arena_alloc(kStringBytesMax, 4096));
  }
  Settings settings;
  Joiner joiner;
  long count = count_entries(given);
  if (count < 0) {
    return count;
  }
  char** result = pointers(static_cast<size_t>(count) + settings.count + 1);
  for (long i = 0; i < count; ++i) {
    char* entry = nullptr;
    const long length =
        get_in(&entry, given + i) ? string_in(copy, entry, kStringBytesMax) : -EFAULT;
    if (length < 0) {
      return -EFAULT;
    }
    result[i] =
        length < static_cast<long>(kStringBytesMax) ? settings.take(entry, copy, &joiner) : nullptr;
    if (result[i] == nullptr) {
      return -E2BIG;
    }
  }
  for (size_t s = 0; s < settings.count; ++s) {
    if (!settings.seen[s]) {
      result[count++] = const_cast<char*>(settings.entries[s]);
    }
  }
  result[count] = nullptr;
  *out = result;
  return 0;
}

}  // namespace ftrun::shim
