// SPDX-License-Identifier: Apache-2.0
// What passes between a core and its host: see observer.h. Test program only.
#include "tests/simulation/observer.h"

namespace ftrun::sim {

namespace {
// Actions, in the fingerprint; events have the numbers before.
enum class What : uint8_t {
  kToSend = kEvents,
  kToProposeView,
  kToReadView,
  kToFence,
  kToBury,
  kToFeedPrimary,
  kToFeedInput,
  kToFedInput,
  kToFeedLog,
  kToFeedPart,
  kToWantPoint,
  kToGoLive,
  kToStepDown,
  kToStay,
  kToStopApplication,
  kToEdgeTakeOver,
  kToEdgeLetGo,
  kToEdgeForget,
  kToEdgeBind,
  kToEdgeListen,
  kToEdgeAccepted,
  kToEdgeUnlisten,
  kToEdgeOption,
  kToEdgeWrite,
  kToEdgeUrgent,
  kToEdgeShutdown,
  kToEdgeClose,
  kToEdgeReleaseInput,
  kToEdgeReofferInput,
  kToEdgeInputLimit,
  kToEdgeAdopt,
  kToEdgeDiscard,
  kToEdgeQuarantine,
  kToConsole,
  kToEvent,
  kToFinished,
};
}  // namespace

// Takes note of the transition that ends with the scope.
class Observer::Step {
 public:
  Step(Observer* observer, Event event, unit::FrameKind frame = {})
      : observer_(observer), event_(event), frame_(frame) {}
  ~Step() {
    if (observer_->coverage_ == nullptr) {
      return;
    }
    const Situation after = situation(observer_->core_.status(), observer_->self_);
    observer_->coverage_->add(observer_->situation_, event_, frame_, after);
    observer_->situation_ = after;
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

 private:
  Observer* const observer_;
  const Event event_;
  const unit::FrameKind frame_;
};

Observer::Observer(const unit::CoreConfig& config, unit::Host* host, Fingerprint* fingerprint,
                   Coverage* coverage)
    : self_(config.self),
      host_(host),
      fingerprint_(fingerprint),
      coverage_(coverage),
      core_(config, this),
      situation_(situation(core_.status(), self_)) {}

template <typename What, typename... Fields>
void Observer::note(What what, const Fields&... fields) {
  fingerprint_->add_all(self_, what, fields...);
}

void Observer::on_app_output(const Output& entry) {
  const Step step(this, Event::kAppOutput);
  note(Event::kAppOutput, entry);
  core_.on_app_output(entry);
}
void Observer::on_app_mark(uint64_t position, uint64_t lsn, uint64_t digest) {
  const Step step(this, Event::kAppMark);
  note(Event::kAppMark, position, lsn, digest);
  core_.on_app_mark(position, lsn, digest);
}
void Observer::on_app_turns(unit::Bytes turns, uint64_t lsn, uint64_t digest) {
  const Step step(this, Event::kAppTurns);
  note(Event::kAppTurns, turns, lsn, digest);
  core_.on_app_turns(turns, lsn, digest);
}
void Observer::on_app_part(const unit::Part& part) {
  const Step step(this, Event::kAppPart);
  note(Event::kAppPart, part.offset, part.records, part.points);
  core_.on_app_part(part);
}
void Observer::on_app_waits(uint64_t point) {
  const Step step(this, Event::kAppWaits);
  note(Event::kAppWaits, point);
  core_.on_app_waits(point);
}
void Observer::on_primary_part(const unit::Part& part) {
  const Step step(this, Event::kPrimaryPart);
  note(Event::kPrimaryPart, part.offset, part.records, part.points);
  core_.on_primary_part(part);
}
void Observer::on_app_exited(int status) {
  const Step step(this, Event::kAppExited);
  note(Event::kAppExited, status);
  core_.on_app_exited(status);
}
void Observer::on_app_failed(std::string_view why, int status, ConnectionId suspect) {
  const Step step(this, Event::kAppFailed);
  note(Event::kAppFailed, why, status, suspect);
  core_.on_app_failed(why, status, suspect);
}
void Observer::on_primary_turns(unit::Bytes turns, uint64_t lsn, uint64_t digest) {
  const Step step(this, Event::kPrimaryTurns);
  note(Event::kPrimaryTurns, turns, lsn, digest);
  core_.on_primary_turns(turns, lsn, digest);
}
ConnectionId Observer::on_edge_open(uint32_t listener, const Address& local, const Address& peer) {
  const Step step(this, Event::kEdgeOpen);
  note(Event::kEdgeOpen, listener, local, peer);
  return core_.on_edge_open(listener, local, peer);
}
void Observer::on_edge_data(ConnectionId id, uint64_t position, unit::Bytes data) {
  const Step step(this, Event::kEdgeData);
  note(Event::kEdgeData, id, position, data);
  core_.on_edge_data(id, position, data);
}
void Observer::on_edge_fin(ConnectionId id) {
  const Step step(this, Event::kEdgeFin);
  note(Event::kEdgeFin, id);
  core_.on_edge_fin(id);
}
void Observer::on_edge_reset(ConnectionId id, int error) {
  const Step step(this, Event::kEdgeReset);
  note(Event::kEdgeReset, id, error);
  core_.on_edge_reset(id, error);
}
void Observer::on_edge_sent(ConnectionId id, uint64_t position) {
  const Step step(this, Event::kEdgeSent);
  note(Event::kEdgeSent, id, position);
  core_.on_edge_sent(id, position);
}
void Observer::on_edge_closed(ConnectionId id) {
  const Step step(this, Event::kEdgeClosed);
  note(Event::kEdgeClosed, id);
  core_.on_edge_closed(id);
}
void Observer::on_edge_bound(uint32_t socket, int error, const Address& address) {
  const Step step(this, Event::kEdgeBound);
  note(Event::kEdgeBound, socket, error, address);
  core_.on_edge_bound(socket, error, address);
}
void Observer::on_edge_adopted(const std::vector<unit::AdoptedConnection>& connections,
                               const std::vector<unit::AdoptedListener>& listeners) {
  const Step step(this, Event::kEdgeAdopted);
  note(Event::kEdgeAdopted, connections, listeners);
  core_.on_edge_adopted(connections, listeners);
}
bool Observer::on_frame(unit::ReplicaId from, const unit::Frame& frame) {
  const Step step(this, Event::kFrame, frame.kind);
  note(Event::kFrame, from, frame);
  return core_.on_frame(from, frame);
}
void Observer::on_replica_suspected(unit::ReplicaId replica, std::string_view why,
                                    unit::Suspicion suspicion) {
  const Step step(this, Event::kReplicaSuspected);
  note(Event::kReplicaSuspected, replica, why, suspicion);
  core_.on_replica_suspected(replica, why, suspicion);
}
void Observer::on_replica_heard(unit::ReplicaId replica) {
  const Step step(this, Event::kReplicaHeard);
  note(Event::kReplicaHeard, replica);
  core_.on_replica_heard(replica);
}
void Observer::on_view(const unit::View& view) {
  const Step step(this, Event::kView);
  note(Event::kView, view);
  core_.on_view(view);
}
void Observer::on_member_gone(unit::ReplicaId member) {
  const Step step(this, Event::kMemberGone);
  note(Event::kMemberGone, member);
  core_.on_member_gone(member);
}
void Observer::on_tick() {
  const Step step(this, Event::kTick);
  note(Event::kTick);
  core_.on_tick();
}
void Observer::on_quarantine_over() {
  const Step step(this, Event::kQuarantineOver);
  note(Event::kQuarantineOver);
  core_.on_quarantine_over();
}
void Observer::on_signal(uint32_t sequence, int number) {
  const Step step(this, Event::kSignal);
  note(Event::kSignal, sequence, number);
  core_.on_signal(sequence, number);
}
std::string Observer::on_hand_over(unit::ReplicaId to) {
  const Step step(this, Event::kHandOver);
  note(Event::kHandOver, to);
  return core_.on_hand_over(to);
}
std::string Observer::on_hand_over_primary(unit::ReplicaId to) {
  const Step step(this, Event::kHandOverPrimary);
  note(Event::kHandOverPrimary, to);
  return core_.on_hand_over_primary(to);
}
void Observer::on_stepped_down(bool done) {
  const Step step(this, Event::kSteppedDown);
  note(Event::kSteppedDown, done);
  core_.on_stepped_down(done);
}
void Observer::flush() {
  const Step step(this, Event::kFlush);
  note(Event::kFlush);
  core_.flush();
}

// --- what it asks of the host ---

void Observer::send(unit::ReplicaId to, const unit::Frame& frame) {
  note(What::kToSend, to, frame);
  host_->send(to, frame);
}
void Observer::propose_view(const unit::View& view) {
  note(What::kToProposeView, view);
  host_->propose_view(view);
}
void Observer::read_view() {
  note(What::kToReadView);
  host_->read_view();
}
void Observer::fence(unit::ReplicaId member) {
  note(What::kToFence, member);
  host_->fence(member);
}
void Observer::bury(unit::ReplicaId member) {
  note(What::kToBury, member);
  host_->bury(member);
}
void Observer::feed_primary(unit::Bytes arrivals) {
  note(What::kToFeedPrimary, arrivals);
  host_->feed_primary(arrivals);
}
void Observer::feed_input(unit::Bytes arrivals) {
  note(What::kToFeedInput, arrivals);
  host_->feed_input(arrivals);
}
unit::Bytes Observer::fed_input() {
  const unit::Bytes fed = host_->fed_input();
  note(What::kToFedInput, fed);
  return fed;
}
void Observer::feed_log(unit::Bytes turns) {
  note(What::kToFeedLog, turns);
  host_->feed_log(turns);
}
void Observer::feed_part(unit::Bytes records, uint64_t points) {
  note(What::kToFeedPart, records, points);
  host_->feed_part(records, points);
}
void Observer::want_point(uint64_t point) {
  note(What::kToWantPoint, point);
  host_->want_point(point);
}
void Observer::go_live() {
  note(What::kToGoLive);
  host_->go_live();
}
void Observer::step_down() {
  note(What::kToStepDown);
  host_->step_down();
}
void Observer::stay() {
  note(What::kToStay);
  host_->stay();
}
void Observer::stop_application(std::string_view why) {
  note(What::kToStopApplication, why);
  host_->stop_application(why);
}
void Observer::edge_take_over(const std::vector<unit::ReplicaId>& from) {
  note(What::kToEdgeTakeOver, from);
  host_->edge_take_over(from);
}
std::vector<unit::Unwritten> Observer::edge_let_go() {
  std::vector<unit::Unwritten> unwritten = host_->edge_let_go();
  note(What::kToEdgeLetGo, unwritten);
  return unwritten;
}
void Observer::edge_forget() {
  note(What::kToEdgeForget);
  host_->edge_forget();
}
void Observer::edge_bind(uint32_t socket, uint32_t flags, const Address& address) {
  note(What::kToEdgeBind, socket, flags, address);
  host_->edge_bind(socket, flags, address);
}
void Observer::edge_listen(uint32_t socket, int backlog) {
  note(What::kToEdgeListen, socket, backlog);
  host_->edge_listen(socket, backlog);
}
void Observer::edge_accepted(ConnectionId id) {
  note(What::kToEdgeAccepted, id);
  host_->edge_accepted(id);
}
void Observer::edge_unlisten(uint32_t socket) {
  note(What::kToEdgeUnlisten, socket);
  host_->edge_unlisten(socket);
}
void Observer::edge_option(uint32_t id, int level, int name, unit::Bytes value) {
  note(What::kToEdgeOption, id, level, name, value);
  host_->edge_option(id, level, name, value);
}
void Observer::edge_write(ConnectionId id, uint64_t position, unit::Bytes data) {
  note(What::kToEdgeWrite, id, position, data);
  host_->edge_write(id, position, data);
}
void Observer::edge_urgent(ConnectionId id, uint64_t position) {
  note(What::kToEdgeUrgent, id, position);
  host_->edge_urgent(id, position);
}
void Observer::edge_shutdown(ConnectionId id) {
  note(What::kToEdgeShutdown, id);
  host_->edge_shutdown(id);
}
void Observer::edge_close(ConnectionId id, uint64_t consumed, unit::Ending ending) {
  note(What::kToEdgeClose, id, consumed, ending);
  host_->edge_close(id, consumed, ending);
}
void Observer::edge_release_input(ConnectionId id, uint64_t position) {
  note(What::kToEdgeReleaseInput, id, position);
  host_->edge_release_input(id, position);
}
void Observer::edge_reoffer_input(ConnectionId id, uint64_t position) {
  note(What::kToEdgeReofferInput, id, position);
  host_->edge_reoffer_input(id, position);
}
void Observer::edge_input_limit(ConnectionId id, uint64_t position) {
  note(What::kToEdgeInputLimit, id, position);
  host_->edge_input_limit(id, position);
}
void Observer::edge_adopt(uint64_t handle, ConnectionId id) {
  note(What::kToEdgeAdopt, handle, id);
  host_->edge_adopt(handle, id);
}
void Observer::edge_discard(uint64_t handle) {
  note(What::kToEdgeDiscard, handle);
  host_->edge_discard(handle);
}
void Observer::edge_quarantine(ConnectionId id, uint64_t position) {
  note(What::kToEdgeQuarantine, id, position);
  host_->edge_quarantine(id, position);
}
void Observer::console(int stream, unit::Bytes data) {
  note(What::kToConsole, stream, data);
  host_->console(stream, data);
}
void Observer::event(std::string_view kind, std::string_view text) {
  note(What::kToEvent, kind, text);
  host_->event(kind, text);
}
void Observer::finished(int status) {
  note(What::kToFinished, status);
  host_->finished(status);
}

}  // namespace ftrun::sim
