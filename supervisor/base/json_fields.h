// SPDX-License-Identifier: Apache-2.0
// Fields of JSON objects that somebody else wrote: files of the run directory, requests, answers.
// The library's own getters throw at a wrong type and cut numbers to size; these do neither. Runs
// in the supervisor and in the tools.
#pragma once

#include <concepts>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace ftrun {

enum class Field {
  kTaken,
  kMissing,
  kUnfit,  // another type, or a number that does not fit
};

namespace json_fields {

inline bool take(const nlohmann::json& value, std::string* into) {
  if (value.is_string()) {
    *into = value.get_ref<const std::string&>();
  }
  return value.is_string();
}

inline bool take(const nlohmann::json& value, bool* into) {
  if (value.is_boolean()) {
    *into = value.get<bool>();
  }
  return value.is_boolean();
}

template <std::integral Number>
bool take(const nlohmann::json& value, Number* into) {
  // Unsigned is the parser's type for every whole number from 0.
  const bool fits =
      value.is_number_unsigned()
          ? std::in_range<Number>(value.get_ref<const uint64_t&>())
          : value.is_number_integer() && std::in_range<Number>(value.get_ref<const int64_t&>());
  if (fits) {
    *into = value.is_number_unsigned() ? static_cast<Number>(value.get<uint64_t>())
                                       : static_cast<Number>(value.get<int64_t>());
  }
  return fits;
}

}  // namespace json_fields

// `*into` is unchanged unless the field is taken. REQUIRES: `object` is a JSON object.
template <typename T>
Field take_field(const nlohmann::json& object, const char* name, T* into) {
  const auto found = object.find(name);
  if (found == object.end()) {
    return Field::kMissing;
  }
  return json_fields::take(*found, into) ? Field::kTaken : Field::kUnfit;
}

// The field, or `standard` where it is missing or unfit.
template <typename T>
T field_or(const nlohmann::json& object, const char* name, T standard) {
  take_field(object, name, &standard);
  return standard;
}

// Text for JSON: what is no UTF-8 in it (a file name may hold anything) is replaced.
template <typename Json>
std::string dump_json(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ftrun
