// SPDX-License-Identifier: Apache-2.0
// The edge: output that waits for peers, and its bound where the application has closed the
// connection, so that nobody but the edge waits for them. Peers that never read are as many as they
// like; a bare server's kernel resets what is too much, the newest or one that is stuck; here it is
// the one whose peer has taken nothing for longest, so that slow readers outlast those. Supervisor.
#include <fmt/format.h>

#include "supervisor/edge/connection.h"

namespace ftrun::edge {

size_t Edge::output_memory() const {
  size_t bytes = 0;
  for (const auto& connection : slots_) {
    bytes += connection->queue.capacity();
  }
  return bytes;
}

// Its memory goes as well.
void Edge::drop_output(Connection* connection) {
  forget_orphan(connection);
  std::vector<uint8_t>().swap(connection->queue);
  connection->queue_start = 0;
  set_unsent(connection, false);
}

void Edge::keep_orphan(Connection* connection) {
  if (!connection->orphan) {
    connection->orphan = true;
    connection->orphan_place = orphans_.insert(orphans_.end(), connection);
    orphan_bytes_ += connection->queue.size() - connection->queue_start;
  }
  while (orphans_.size() > orphans_max_ || orphan_bytes_ > orphan_bytes_max_) {
    sink_->edge_trouble(fmt::format(
        "a closed connection whose peer does not take its output is reset: {} such have {} bytes "
        "(at most {} and {})",
        orphans_.size(), orphan_bytes_, orphans_max_, orphan_bytes_max_));
    Connection* const stuck = orphans_.front();
    drop_output(stuck);
    stuck->reset_wanted = true;
    stuck->quarantined = false;  // it waits for its peer no longer
    finish_output(stuck);
  }
}

void Edge::forget_orphan(Connection* connection) {
  if (connection->orphan) {
    connection->orphan = false;
    orphans_.erase(connection->orphan_place);
    orphan_bytes_ -= connection->queue.size() - connection->queue_start;
  }
}

void Edge::note_orphan_sent(Connection* connection, size_t bytes) {
  if (connection->orphan) {
    orphan_bytes_ -= bytes;
    orphans_.splice(orphans_.end(), orphans_, connection->orphan_place);
  }
}

}  // namespace ftrun::edge
