// SPDX-License-Identifier: Apache-2.0
// Builds short messages in a fixed buffer: the shim's replacement for snprintf.
// Runs in the application, in any context. SIGNAL-SAFE.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ftrun::shim {

class Text {
 public:
  Text& add(const char* text) {
    while (*text != '\0' && length_ + 1 < sizeof(buffer_)) {
      buffer_[length_++] = *text++;
    }
    buffer_[length_] = '\0';
    return *this;
  }
  Text& add(int64_t value) {
    if (value < 0) {
      add("-");
    }
    return add_digits(value < 0 ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value), 10);
  }
  Text& hex(uint64_t value) { return add("0x").add_digits(value, 16); }
  const char* c_str() const { return buffer_; }
  size_t length() const { return length_; }

 private:
  Text& add_digits(uint64_t value, unsigned base) {
    char digits[24];
    size_t n = sizeof(digits) - 1;
    digits[n] = '\0';
    do {
      digits[--n] = "0123456789abcdef"[value % base];
      value /= base;
    } while (value != 0);
    return add(digits + n);
  }
  char buffer_[1024] = {};
  size_t length_ = 0;
};

}  // namespace ftrun::shim
