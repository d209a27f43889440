// SPDX-License-Identifier: Apache-2.0
// As decoders.h, for files that outlive who wrote them: views, markers of state directories, and
// what else lies in a run directory. Runs in fuzz targets.
#pragma once

#include <string>
#include <string_view>

#include "cli/unit_files.h"
#include "supervisor/arbiter/views.h"
#include "supervisor/process/state_marker.h"
#include "tests/fuzz/decoders.h"

namespace ftrun::fuzz {

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline void require_reason(const Error& error) {
  require(!error.message.empty(), "a reason");
  require(error.message.find('\n') == std::string::npos, "a reason of one line");
}

inline void view(const uint8_t* data, size_t size) {
  const std::string_view text = text_of(data, size);
  if (const auto epoch = arbiter::epoch_of_file(text)) {
    require(arbiter::file_of_epoch(*epoch) == text, "the same name");
  }
  const Result<unit::View> decoded = arbiter::decode_view(text);
  if (!decoded.ok()) {
    require_reason(decoded.error());
    return;
  }
  require(arbiter::encode_view(*decoded) == text, "the same bytes when encoded again");
  size_t senders = 0;
  uint32_t seen = 0;
  for (const unit::ReplicaId replica : decoded->replicas) {
    require(replica < 26 && (seen & (1u << replica)) == 0, "distinct replicas with names");
    seen |= 1u << replica;
    senders += replica == decoded->sender ? 1 : 0;
  }
  require(senders == 1, "the sender is a member");
}

inline void marker(const uint8_t* data, size_t size) {
  const Result<process::StateMarker> decoded = process::decode_marker(text_of(data, size));
  if (!decoded.ok()) {
    require_reason(decoded.error());
    return;
  }
  const auto again = process::decode_marker(process::encode_marker(*decoded));
  require(again.ok() && *again == *decoded, "the same marker when encoded and decoded again");
}

// unit.json, sup.<id>.json, exit_status and signals: each takes all bytes.
inline void unit_files(const uint8_t* data, size_t size) {
  const std::string_view text = text_of(data, size);
  const Result<cli::UnitFile> unit = cli::decode_unit_file(text);
  if (unit.ok()) {
    const auto again = cli::decode_unit_file(cli::encode_unit_file(*unit));
    require(again.ok() && *again == *unit, "the same unit when encoded and decoded again");
  } else {
    require_reason(unit.error());
  }
  const Result<cli::ReplicaFile> replica = cli::decode_replica_file("a", text);
  require(replica.ok() || unit.ok() || !replica.error().message.empty(), "a reason");
  if (const auto id = cli::replica_of_file(text)) {
    require("sup." + *id + ".json" == text && !id->empty(), "the same name");
  }
  if (const auto status = cli::decode_exit_status(text)) {
    require(size >= 2 && size <= sizeof "-2147483648", "an exit status of bounded length");
  }
}

inline void events(const uint8_t* data, size_t size) {
  const std::string_view text = text_of(data, size);
  const std::string found = cli::last_event_in(text, {"lost", "suspected"});
  require(found.size() <= size, "an event is part of its file");
  // What is appended does not depend on what stood there before, be it cut off or no event.
  const std::string line = std::string(text) + "\n{\"kind\":\"lost\",\"text\":\"last\"}\n{\"kind\"";
  require(cli::last_event_in(line, {"lost"}) == "last", "the last event is found");
}

}  // namespace ftrun::fuzz
