// SPDX-License-Identifier: Apache-2.0
#include "supervisor/process/environment.h"

#include <cerrno>
#include <cstdlib>
#include <optional>

#include "fmt/format.h"

namespace ftrun::process {
namespace {

// CPUID bits in OPENSSL_ia32cap's two words: leaf 1 ECX is the high half of the first word, leaf 7
// EBX the low half of the second.
constexpr uint64_t kRdrandBit = uint64_t{1} << 62;
constexpr uint64_t kRdseedBit = uint64_t{1} << 18;

constexpr std::string_view kTunables[][2] = {
    {"glibc.pthread.rseq", "0"},    // the kernel writes CPU numbers into it behind our back
    {"glibc.elision.enable", "0"},  // a transaction's abort is not deterministic
};

std::optional<std::string> value_of(const std::vector<std::string>& environment,
                                    std::string_view name) {
  for (const std::string& entry : environment) {
    if (entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name)) {
      return entry.substr(name.size() + 1);
    }
  }
  return std::nullopt;
}

void set_variable(std::vector<std::string>* environment, std::string_view name,
                  const std::string& value) {
  std::vector<std::string> result;
  const std::string prefix = std::string(name) + "=";
  bool placed = false;
  for (std::string& entry : *environment) {
    if (!entry.starts_with(prefix)) {
      result.push_back(std::move(entry));
    } else if (!placed) {
      result.push_back(prefix + value);
      placed = true;
    }
  }
  if (!placed) {
    result.push_back(prefix + value);
  }
  *environment = std::move(result);
}

// One word of OPENSSL_ia32cap: "value" or "~mask", C notation. Empty means "as the CPU says".
Result<std::string> mask_word(std::string_view word, uint64_t bit) {
  const bool inverted = word.starts_with('~');
  const std::string digits(inverted ? word.substr(1) : word);
  if (digits.empty()) {
    return fmt::format("~{:#x}", bit);
  }
  char* end = nullptr;
  errno = 0;
  const uint64_t number = std::strtoull(digits.c_str(), &end, 0);
  if (*end != '\0' || errno != 0 || digits[0] == '-') {
    return Error{fmt::format("OPENSSL_ia32cap in the environment: '{}' is not a number", word)};
  }
  return inverted ? fmt::format("~{:#x}", number | bit) : fmt::format("{:#x}", number & ~bit);
}

}  // namespace

std::string merge_tunables(std::string_view existing) {
  std::string merged;
  const auto append = [&merged](std::string_view entry) {
    merged += merged.empty() ? "" : ":";
    merged += entry;
  };
  while (!existing.empty()) {
    const size_t colon = existing.find(':');
    const std::string_view entry = existing.substr(0, colon);
    existing = colon == std::string_view::npos ? "" : existing.substr(colon + 1);
    const std::string_view name = entry.substr(0, entry.find('='));
    if (!entry.empty() && name != kTunables[0][0] && name != kTunables[1][0]) {
      append(entry);
    }
  }
  for (const auto& [name, value] : kTunables) {
    append(fmt::format("{}={}", name, value));
  }
  return merged;
}

Result<std::string> merge_ia32cap(std::string_view existing) {
  const size_t colon = existing.find(':');
  const std::string_view rest = colon == std::string_view::npos ? "" : existing.substr(colon + 1);
  const size_t second = rest.find(':');
  auto low = mask_word(existing.substr(0, colon), kRdrandBit);
  FTRUN_TRY(low);
  auto high = mask_word(rest.substr(0, second), kRdseedBit);
  FTRUN_TRY(high);
  const std::string_view tail = second == std::string_view::npos ? "" : rest.substr(second);
  return fmt::format("{}:{}{}", *low, *high, tail);
}

Result<std::vector<std::string>> application_environment(const std::vector<std::string>& base,
                                                         const std::string& preload_path) {
  if (preload_path.find_first_of(" :") != std::string::npos) {
    return Error{fmt::format("'{}' cannot be preloaded: LD_PRELOAD takes no blanks and no colons",
                             preload_path)};
  }
  std::vector<std::string> environment = base;
  const std::string preload = value_of(base, "LD_PRELOAD").value_or("");
  set_variable(&environment, "LD_PRELOAD",
               preload.empty() ? preload_path : preload_path + ":" + preload);
  set_variable(&environment, "LD_BIND_NOW", "1");
  set_variable(&environment, "GLIBC_TUNABLES",
               merge_tunables(value_of(base, "GLIBC_TUNABLES").value_or("")));
  auto capabilities = merge_ia32cap(value_of(base, "OPENSSL_ia32cap").value_or(""));
  FTRUN_TRY(capabilities);
  set_variable(&environment, "OPENSSL_ia32cap", *capabilities);
  return environment;
}

}  // namespace ftrun::process
