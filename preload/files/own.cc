// SPDX-License-Identifier: Apache-2.0
// See own.h. Runs in the application with the token held; no libc.
#include "preload/files/own.h"

#include "preload/files/replicate.h"
#include "preload/scheduler.h"

namespace ftrun::shim {
namespace {

constexpr int kLinksMax = 40;  // MAXSYMLINKS

// Takes an absolute path apart, part by part.
// A part must end where the word does: /proc/selfish is not /proc/self. No copies, no allocation:
// the path is only looked at.
class Parts {
 public:
  explicit Parts(const char* path) : at_(path) {}
  bool take(const char* word) {
    const char* at = at_;
    if (*at++ != '/') {
      return false;
    }
    while (*word != '\0' && *at == *word) {
      ++at;
      ++word;
    }
    if (*word != '\0' || (*at != '/' && *at != '\0')) {
      return false;
    }
    at_ = at;
    return true;
  }
  bool take_number(int* value) {
    const char* at = at_;
    if (*at++ != '/' || *at < '0' || *at > '9') {
      return false;
    }
    int64_t number = 0;
    for (; *at >= '0' && *at <= '9'; ++at) {
      number = number * 10 + (*at - '0');
      if (number > INT32_MAX) {
        return false;
      }
    }
    if (*at != '/' && *at != '\0') {
      return false;
    }
    *value = static_cast<int>(number);
    at_ = at;
    return true;
  }
  bool at_end() const { return *at_ == '\0'; }

 private:
  const char* at_;
};

// Ids of threads are those of the replica's own namespace and equal in all replicas, so it needs no
// record which names are own.
bool is_own_id(int id) {
  return id == static_cast<int>(application_process_id()) || thread_by_tid(id) != nullptr;
}

// /proc/self, /proc/thread-self, /proc/PID, and a thread below them.
bool take_own_process(Parts* parts) {
  int id = 0;
  if (!parts->take("proc") || !(parts->take("self") || parts->take("thread-self") ||
                                (parts->take_number(&id) && is_own_id(id)))) {
    return false;
  }
  return !parts->take("task") || (parts->take_number(&id) && is_own_id(id));
}

}  // namespace

int own_descriptor_link(const char* absolute) {
  Parts parts(absolute);
  int fd = -1;
  const bool is_one =
      take_own_process(&parts) && parts.take("fd") && parts.take_number(&fd) && parts.at_end();
  return is_one ? fd : -1;
}

int own_descriptor(const char* absolute) {
  static constexpr const char* kStreams[] = {"stdin", "stdout", "stderr"};
  Parts parts(absolute);
  if (!parts.take("dev")) {
    return own_descriptor_link(absolute);
  }
  int fd = -1;
  for (int stream = 0; stream <= 2; ++stream) {
    if (parts.take(kStreams[stream])) {
      return parts.at_end() ? stream : -1;
    }
  }
  return parts.take("fd") && parts.take_number(&fd) && parts.at_end() ? fd : -1;
}

// Only names that act on the process itself; what is read there goes through the log like the rest
// of /proc.
bool is_own_attribute(const char* absolute) {
  static constexpr const char* kNames[] = {"comm", "oom_score_adj", "oom_adj", "coredump_filter",
                                           "timerslack_ns"};
  Parts parts(absolute);
  if (!take_own_process(&parts)) {
    return false;
  }
  for (const char* name : kNames) {
    if (parts.take(name)) {
      return parts.at_end();
    }
  }
  return false;
}

void follow_links(char* absolute) {
  // ORDER: the walk stops at the name of an own descriptor. Behind a virtual one the kernel has
  // only the placeholder, whose link would lead to /dev/null. One choice for the whole walk: a link
  // that is replaced on the way is replaced for all replicas alike.
  choose_counted(__NR_readlink, absolute, kPathBytesMax, [&] {
    char target[kPathBytesMax];
    for (int links = 0; links < kLinksMax && own_descriptor(absolute) < 0; ++links) {
      const long length = raw(__NR_readlink, absolute, target, sizeof(target) - 1);
      if (length <= 0) {
        break;
      }
      target[length] = '\0';
      if (!resolve_link(absolute, target)) {
        break;
      }
    }
    long length = 0;
    while (absolute[length] != '\0') {
      ++length;
    }
    return length + 1;  // with the NUL
  });
}

}  // namespace ftrun::shim
