// SPDX-License-Identifier: Apache-2.0
// A replica as the unit core's host, and as the sink of edge and rings: one line each, mostly. See
// replica.h. Runs in the supervisor's event loop.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "supervisor/base/tags.h"
#include "supervisor/edge/keeper.h"
#include "supervisor/replica/replica.h"

namespace ftrun {

void Replica::send(unit::ReplicaId to, const unit::Frame& frame) {
  if (frame.kind == unit::FrameKind::kAppFailed && evidence_.collects()) {
    evidence_.hold(to, frame);
    return;
  }
  link::Peer* peer = peers_.find(to);
  if (peer == nullptr || !peer->link.open()) {
    return;  // it is being suspected; frames to it would be dropped anyway
  }
  const Result<void> sent = peer->link.send(frame);
  if (!sent.ok()) {
    deferred_.push_back([this, peer, why = sent.error().message] { peer_lost(peer, why); });
  }
}

void Replica::propose_view(const unit::View& view) {
  deferred_.push_back([this, view] {
    const Result<unit::View> published = memory_.publish(view);
    if (!published.ok() && published.error().message != publish_trouble_) {
      publish_trouble_ = published.error().message;
      event("trouble",
            "the next view could not be published, and is tried again: " + publish_trouble_);
    }
    learn_view();
  });
}

void Replica::read_view() {
  deferred_.push_back([this] { learn_view(); });
}

void Replica::learn_view() {
  const std::optional<unit::View> current = memory_.current();
  FTRUN_ASSERT(current.has_value());
  const uint64_t epoch = core_->status().view.epoch;
  core_->on_view(*current);
  if (current->epoch != epoch) {
    show_view();
    mark_state_copies();
  }
}

void Replica::fence(unit::ReplicaId member) {
  deferred_.push_back([this, member] { end_member(member); });
}
void Replica::bury(unit::ReplicaId member) {
  deferred_.push_back([this, member] { end_keeper(member); });
}
void Replica::edge_take_over(const std::vector<unit::ReplicaId>& from) {
  deferred_.push_back([this, from] { take_connections(from); });
}

std::vector<unit::Unwritten> Replica::edge_let_go() {
  return edge_->let_go();
}
void Replica::edge_forget() {
  edge_->forget();
}

void Replica::feed_primary(unit::Bytes arrivals) {
  if (primary_rings_ != nullptr) {
    primary_rings_->port().feed_input(arrivals);
  }  // else it is lost: everything that is not logged will be offered again
}
void Replica::feed_input(unit::Bytes arrivals) {
  port_->feed_input(arrivals);
}

// ORDER: end_member() has read what the application had published before.
unit::Bytes Replica::fed_input() {
  const bool trails = port_->trails();
  const Result<void> found = port_->unlogged_input(&fed_input_);
  if (!found.ok()) {
    deferred_.push_back([this, why = found.error().message] {
      rings_broken_ = true;
      application_lost(why, 1);
    });
  }
  if (trails) {
    port_->serve();
    const Result<void> watched = watch(doorbell_.get(), kTagDoorbell, EPOLLIN | EPOLLET);
    if (!watched.ok()) {
      event("trouble", watched.error().message);
    }
  }
  return fed_input_;
}
void Replica::feed_log(unit::Bytes turns) {
  port_->feed_log(turns);
}

void Replica::go_live() {
  port_->go_live();
  event("promoted", "this replica is the primary from the end of the log on");
}

void Replica::stop_application(std::string_view why) {
  if (why.empty()) {
    deferred_.push_back([this] { process::end(&application_); });
  } else {
    rings_broken_ = true;  // nothing more of it counts
    collect_failed(std::string(why));
  }
}

void Replica::edge_bind(uint32_t socket, uint32_t flags, const Address& address) {
  edge_->bind(socket, flags, address);
}
void Replica::edge_listen(uint32_t socket, int backlog) {
  edge_->listen(socket, backlog);
}
void Replica::edge_accepted(ConnectionId connection) {
  edge_->accepted(connection);
}
void Replica::edge_unlisten(uint32_t socket) {
  edge_->unlisten(socket);
}
void Replica::edge_option(uint32_t id, int level, int name, unit::Bytes value) {
  edge_->option(id, level, name, value);
}
void Replica::edge_write(ConnectionId connection, uint64_t position, unit::Bytes data) {
  edge_->write(connection, position, data);
}
void Replica::edge_urgent(ConnectionId connection, uint64_t position) {
  edge_->urgent(connection, position);
}
void Replica::edge_shutdown(ConnectionId connection) {
  edge_->shutdown(connection);
}
void Replica::edge_close(ConnectionId connection, uint64_t consumed, unit::Ending ending) {
  edge_->close(connection, consumed, ending);
}
void Replica::edge_release_input(ConnectionId connection, uint64_t position) {
  edge_->release_input(connection, position);
}
void Replica::edge_reoffer_input(ConnectionId connection, uint64_t position) {
  edge_->reoffer_input(connection, position);
}
void Replica::edge_input_limit(ConnectionId connection, uint64_t position) {
  edge_->input_limit(connection, position);
}
void Replica::edge_adopt(uint64_t handle, ConnectionId connection) {
  edge_->adopt(handle, connection);
}
void Replica::edge_discard(uint64_t handle) {
  edge_->discard(handle);
}

void Replica::edge_quarantine(ConnectionId connection, uint64_t position) {
  const edge::Edge::Suspect suspect = edge_->quarantine(connection, position);
  event("quarantine",
        fmt::format("connection {} of {} has crashed the primary and is reset; others from there "
                    "come last, new ones wait for {} ms; its last input: {}",
                    connection, suspect.peer, options_.quarantine_hold_ms, suspect.last_bytes));
  quarantine_over_ns_ = now_ns_ + int64_t{options_.quarantine_hold_ms} * 1'000'000;
}

void Replica::console(int stream, unit::Bytes data) {
  console_.append(stream, data);
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  append_bounded(&earlier_words_, text, kEarlierWordsBytesMax);
  held_words_.heard(text);
}

void Replica::event(std::string_view kind, std::string_view text) {
  while (!text.empty() && text.back() == '\n') {
    text.remove_suffix(1);
  }
  text = text.substr(0, kEventTextBytesMax);
  const uint64_t epoch = core_ == nullptr ? 0 : core_->status().view.epoch;
  // What an application can cause as often as it likes; everything else happens once.
  const bool limited = kind == "notice" || kind == "edge" || kind == "limit" || kind == "control";
  if (limited && !event_limit_.take(now_ns_)) {
    return;
  }
  const uint64_t left_out = limited ? event_limit_.left_out() : 0;
  if (left_out != 0) {
    run_dir_.events().write("limit", fmt::format("{} events were left out: too many", left_out),
                            epoch);
  }
  run_dir_.events().write(kind, text, epoch);
}

void Replica::finished(int status) {
  exit_code_ = 0;
  done_ = true;
  ended_cleanly_ = exit_entry_seen_;
  if (core_->status().view.replicas.size() == 1) {
    say_last_words();
  }
  memory_.set_exit_status(status);
  const Result<void> written =
      run_dir_.write(run_dir_.file("exit_status"), fmt::format("{}\n", status));
  if (!written.ok()) {
    event("trouble", written.error().message);
  }
}

ConnectionId Replica::edge_open(uint32_t listener, const Address& local, const Address& peer) {
  return core_->on_edge_open(listener, local, peer);
}
void Replica::edge_data(ConnectionId connection, uint64_t position, unit::Bytes data) {
  core_->on_edge_data(connection, position, data);
  if (must_not_read()) {  // all that is read in one turn of the loop counts, too
    edge_->pause(true);
  }
}
void Replica::edge_urgent(ConnectionId connection, uint64_t position, uint8_t byte) {
  core_->on_edge_urgent(connection, position, byte);
}
void Replica::edge_fin(ConnectionId connection) {
  core_->on_edge_fin(connection);
}
void Replica::edge_reset(ConnectionId connection, int error) {
  core_->on_edge_reset(connection, error);
}
void Replica::edge_sent(ConnectionId connection, uint64_t position) {
  core_->on_edge_sent(connection, position);
}
void Replica::edge_closed(ConnectionId connection) {
  core_->on_edge_closed(connection);
}
void Replica::edge_bound(uint32_t socket, int error, const Address& address) {
  core_->on_edge_bound(socket, error, address);
}
void Replica::edge_trouble(const std::string& text) {
  event("edge", text);
}

void Replica::app_output(const Output& entry) {
  exit_entry_seen_ = exit_entry_seen_ || entry.kind == OutputKind::kExit;
  core_->on_app_output(entry);
}

void Replica::app_mark(uint64_t log_position, uint64_t lsn, uint64_t digest) {
  core_->on_app_mark(log_position, lsn, digest);
}

void Replica::app_turns(unit::Bytes turns, uint64_t lsn_end, uint64_t digest) {
  if (record_log_.valid() && ::write(record_log_.get(), turns.data(), turns.size()) !=
                                 static_cast<ssize_t>(turns.size())) {
    event("trouble", system_error(options_.record_log, errno).message + "; recording ends here");
    record_log_.reset();
  }
  core_->on_app_turns(turns, lsn_end, digest);
}

}  // namespace ftrun
