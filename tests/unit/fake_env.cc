// SPDX-License-Identifier: Apache-2.0
// See fake_env.h. Fibers are ucontexts: the scheduler is a strict first-come-first-served queue.
// Runs in test processes only.
#include "tests/unit/fake_env.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "preload/guarded.h"

namespace ftrun::shim {

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  std::function<void()> body;
  WaitQueue* waiting_on = nullptr;
  Thread* next_in_queue = nullptr;
  int64_t deadline_ns = kNoDeadline;
  int wait_result = 0;
  bool done = false;
};

namespace {

constexpr size_t kFiberStackBytes = 512 * 1024;

fake::Environment g_environment;
bool g_initialised = false;
std::set<int> g_descriptors;
uint32_t g_connection_id = 0;
Thread g_main;
Thread* g_self = &g_main;
std::vector<std::unique_ptr<Thread>> g_threads;
std::deque<Thread*> g_runnable;
std::set<Thread*> g_waiting;

void push(WaitQueue* queue, Thread* thread) {
  thread->next_in_queue = nullptr;
  (queue->last != nullptr ? queue->last->next_in_queue : queue->first) = thread;
  queue->last = thread;
}

void remove(WaitQueue* queue, Thread* thread) {
  Thread* previous = nullptr;
  for (Thread* t = queue->first; t != nullptr; previous = t, t = t->next_in_queue) {
    if (t == thread) {
      (previous != nullptr ? previous->next_in_queue : queue->first) = t->next_in_queue;
      queue->last = queue->last == t ? previous : queue->last;
      return;
    }
  }
  shim_fail("fake: a waiting thread is not in its queue");
}

void make_runnable(Thread* thread, int result) {
  remove(thread->waiting_on, thread);
  thread->waiting_on = nullptr;
  thread->wait_result = result;
  g_waiting.erase(thread);
  g_runnable.push_back(thread);
}

// Moves time to the next deadline. False if nobody waits for one.
bool advance_time() {
  int64_t earliest = net_next_timer_ns();
  for (const Thread* thread : g_waiting) {
    if (thread->deadline_ns != kNoDeadline &&
        (earliest == kNoDeadline || thread->deadline_ns < earliest)) {
      earliest = thread->deadline_ns;
    }
  }
  if (earliest == kNoDeadline) {
    return false;
  }
  int64_t& now = fake::env().now_ns;
  now = earliest > now ? earliest : now;
  net_expire_timers(now);
  std::vector<Thread*> due;
  for (Thread* thread : g_waiting) {
    if (thread->deadline_ns != kNoDeadline && thread->deadline_ns <= now) {
      due.push_back(thread);
    }
  }
  for (Thread* thread : due) {
    make_runnable(thread, -ETIMEDOUT);
  }
  return true;
}

Thread* next_thread(bool may_move_time) {
  fake::Environment& environment = fake::env();
  while (g_runnable.empty()) {
    if (!environment.arrivals.empty()) {
      fake::apply_arrivals();
    } else if (environment.when_idle && environment.when_idle()) {
      continue;
    } else if (!may_move_time || !advance_time()) {
      return nullptr;
    }
  }
  Thread* next = g_runnable.front();
  g_runnable.pop_front();
  return next;
}

void switch_to(Thread* next) {
  Thread* before = g_self;
  if (next != before) {
    g_self = next;
    swapcontext(&before->context, &next->context);
  }
}

void fiber_main() {
  g_self->body();
  g_self->done = true;
  Thread* next = next_thread(true);
  if (next == nullptr) {
    shim_fail("fake: everybody waits for ever");
  }
  switch_to(next);
}

}  // namespace

int64_t virtual_now_ns() {
  return fake::env().now_ns;
}
int64_t realtime_offset_ns() {
  return fake::env().realtime_offset_ns;
}
void raise_sigpipe() {
  ++fake::env().sigpipes;
}
int descriptor_limit() {
  return fake::env().descriptor_limit;
}

int sched_wait(WaitQueue* queue, int64_t deadline_ns) {
  fake::Environment& environment = fake::env();
  if (environment.interrupt_next_wait != 0) {
    return std::exchange(environment.interrupt_next_wait, 0);
  }
  ++environment.waits;
  Thread* me = g_self;
  push(queue, me);
  me->waiting_on = queue;
  me->deadline_ns = deadline_ns;
  g_waiting.insert(me);
  Thread* next = next_thread(true);
  if (next == nullptr) {
    shim_fail("fake: everybody waits for ever");
  }
  switch_to(next);
  return me->wait_result;
}

int sched_wake(WaitQueue* queue, int count) {
  int woken = 0;
  while (woken < count && queue->first != nullptr) {
    make_runnable(queue->first, 0);
    ++woken;
  }
  return woken;
}

void ingest_point() {
  ++fake::env().ingest_points;
  fake::apply_arrivals();
}

void end_full_turn() {}

size_t emit_output(const Output& entry) {
  fake::Environment& environment = fake::env();
  std::string data(entry.length, '\0');
  if (copy_in(data.data(), entry.data, entry.length) != entry.length) {
    return 0;
  }
  if (!environment.record_outputs) {
    return entry.length;
  }
  environment.outputs.push_back(
      {entry.kind, entry.id, entry.value, entry.value2, std::move(data), entry.address});
  if (entry.kind == OutputKind::kListen && environment.answer_binds) {
    fake::QueuedArrival answer;
    answer.item.kind = ArrivalKind::kBound;
    answer.item.id = entry.id;
    environment.arrivals.push_back(answer);
  }
  if (entry.kind == OutputKind::kBind && environment.answer_binds) {
    fake::QueuedArrival answer;
    answer.item.kind = ArrivalKind::kBound;
    answer.item.id = entry.id;
    answer.item.local = entry.address;
    if (answer.item.local.bytes[2] == 0 && answer.item.local.bytes[3] == 0) {
      answer.item.local.bytes[2] = 0x9c;  // port 40000 + id
      answer.item.local.bytes[3] = static_cast<uint8_t>(0x40 + entry.id);
    }
    environment.arrivals.push_back(answer);
  }
  return entry.length;
}

int hold_descriptor(int at_least) {
  auto& forced = fake::env().forced_descriptors;
  if (!forced.empty()) {
    const int fd = forced.front();
    forced.pop_front();
    if (!g_descriptors.insert(fd).second) {
      shim_fail("fake: a forced descriptor is in use", fd);
    }
    return fd;
  }
  for (int fd = at_least; fd < descriptor_limit(); ++fd) {
    if (g_descriptors.insert(fd).second) {
      return fd;
    }
  }
  return -EMFILE;
}

int hold_descriptor_at(int number) {
  g_descriptors.insert(number);
  return 0;
}

void release_descriptor(int number) {
  if (g_descriptors.erase(number) != 1) {
    shim_fail("fake: a descriptor was released that was not held", number);
  }
}

void* arena_alloc(size_t bytes, size_t alignment) {
  void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  std::memset(memory, 0, bytes);
  // Never destroyed: for leak checkers the free lists are reachable through this alone.
  static auto* kept = new std::vector<void*>;
  kept->push_back(memory);
  return memory;
}

bool signal_file_owner(int, int, const siginfo_t& info) {
  g_environment.signals.push_back(info);
  return true;
}
bool is_file_owner(int type, int id) {
  return (type == F_OWNER_PGRP ? getpgrp() : getpid()) == id;
}
void note_read(uint32_t) {}

const char* describe_caller_of_wrapper() {
  return "";
}

[[noreturn]] void shim_fail(const char* what, int64_t value1, int64_t value2) {
  std::fprintf(stderr, "shim_fail: %s (%lld, %lld)\n", what, static_cast<long long>(value1),
               static_cast<long long>(value2));
  std::abort();
}

}  // namespace ftrun::shim

namespace ftrun::shim::fake {

Environment& env() {
  return g_environment;
}

namespace {

// As the shim's: a fault in a guarded copy is no crash.
void handle_fault(int number, siginfo_t* info, void* context) {
  if (info->si_code <= 0 || !leave_guarded(static_cast<ucontext_t*>(context)->uc_mcontext.gregs)) {
    signal(number, SIG_DFL);  // and the fault again
  }
}

void handle_faults() {
  struct sigaction action = {};
  action.sa_sigaction = handle_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

void reset() {
  g_environment = Environment{};
  if (!g_initialised) {
    g_initialised = true;
    handle_faults();
    g_descriptors = {0, 1, 2};
    net_init();
    fd_set_native(0, 0, false);
  }
}

uint32_t next_connection_id() {
  return ++g_connection_id;
}

Address address_v4(uint32_t ip, uint16_t port) {
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(ip);
  in.sin_port = htons(port);
  Address address;
  address.length = sizeof(in);
  std::memcpy(address.bytes, &in, sizeof(in));
  return address;
}

namespace {
void queue(ArrivalKind kind, uint32_t id, uint64_t value, const std::string& bytes = "") {
  QueuedArrival arrival;
  arrival.item.kind = kind;
  arrival.item.id = id;
  arrival.item.value = value;
  arrival.data = bytes;
  env().arrivals.push_back(std::move(arrival));
}
}  // namespace

uint32_t open(uint32_t listener) {
  QueuedArrival arrival;
  arrival.item.kind = ArrivalKind::kOpen;
  arrival.item.id = next_connection_id();
  arrival.item.listener = listener;
  arrival.item.local = address_v4(INADDR_LOOPBACK, 40000);
  arrival.item.peer = address_v4(INADDR_LOOPBACK, static_cast<uint16_t>(50000 + arrival.item.id));
  env().arrivals.push_back(arrival);
  return arrival.item.id;
}

void data(uint32_t connection, const std::string& bytes) {
  queue(ArrivalKind::kData, connection, 0, bytes);
}
void urgent(uint32_t connection, uint64_t position, uint8_t byte) {
  QueuedArrival arrival;
  arrival.item.kind = ArrivalKind::kUrgent;
  arrival.item.id = connection;
  arrival.item.value = position;
  arrival.item.urgent_byte = byte;
  env().arrivals.push_back(arrival);
}
void fin(uint32_t connection) {
  queue(ArrivalKind::kFin, connection, 0);
}
void reset_connection(uint32_t connection, int error) {
  queue(ArrivalKind::kReset, connection, static_cast<uint64_t>(error));
}
void credit(uint32_t connection, uint64_t position) {
  queue(ArrivalKind::kCredit, connection, position);
}

void apply_arrivals() {
  while (!env().arrivals.empty()) {
    QueuedArrival arrival = std::move(env().arrivals.front());
    env().arrivals.pop_front();
    arrival.item.data = reinterpret_cast<const uint8_t*>(arrival.data.data());
    arrival.item.length = arrival.data.size();
    net_apply(arrival.item);
  }
}

uint32_t last_bound_socket() {
  for (auto it = env().outputs.rbegin(); it != env().outputs.rend(); ++it) {
    if (it->kind == OutputKind::kBind) {
      return it->id;
    }
  }
  shim_fail("fake: no bind was issued");
}

std::string written(uint32_t connection) {
  std::string bytes;
  for (const RecordedOutput& entry : env().outputs) {
    if (entry.kind == OutputKind::kWrite && entry.id == connection) {
      bytes += entry.data;
    }
  }
  return bytes;
}

std::vector<RecordedOutput> outputs_of(OutputKind kind) {
  std::vector<RecordedOutput> found;
  for (const RecordedOutput& entry : env().outputs) {
    if (entry.kind == kind) {
      found.push_back(entry);
    }
  }
  return found;
}

void spawn(std::function<void()> body) {
  auto thread = std::make_unique<Thread>();
  thread->body = std::move(body);
  thread->stack = std::make_unique<char[]>(kFiberStackBytes);
  getcontext(&thread->context);
  thread->context.uc_stack.ss_sp = thread->stack.get();
  thread->context.uc_stack.ss_size = kFiberStackBytes;
  thread->context.uc_link = nullptr;
  makecontext(&thread->context, fiber_main, 0);
  g_runnable.push_back(thread.get());
  g_threads.push_back(std::move(thread));
}

void run_threads() {
  // The caller stands at the end of the queue until nobody else is there.
  for (;;) {
    if (g_runnable.empty()) {
      if (env().arrivals.empty()) {
        return;
      }
      apply_arrivals();
      continue;
    }
    Thread* next = g_runnable.front();
    g_runnable.pop_front();
    g_runnable.push_back(g_self);
    switch_to(next);
    // Back here: either everybody ran once, or there was nobody else.
    std::erase_if(g_threads, [](const auto& thread) { return thread->done; });
  }
}

int listening_socket(int flags) {
  const int fd = static_cast<int>(net_socket(AF_INET, SOCK_STREAM | flags, 0));
  const Address address = address_v4(INADDR_LOOPBACK, 0);
  sockaddr_in in = {};
  std::memcpy(&in, address.bytes, sizeof(in));
  if (fd < 0 || net_bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof(in)) != 0 ||
      net_listen(fd, 128) != 0) {
    shim_fail("fake: no listening socket", fd);
  }
  return fd;
}

Connection connect_to(int listener, uint32_t listener_id, int flags) {
  const uint32_t id = open(listener_id);
  apply_arrivals();
  const int fd = static_cast<int>(net_accept(listener, nullptr, nullptr, flags));
  if (fd < 0) {
    shim_fail("fake: accept failed", fd);
  }
  return {fd, id};
}

long read_fd(int fd, void* buffer, size_t length) {
  const iovec iov = {buffer, length};
  return net_readv(fd, &iov, 1);
}

long write_fd(int fd, const std::string& bytes) {
  const iovec iov = {const_cast<char*>(bytes.data()), bytes.size()};
  return net_writev(fd, &iov, 1);
}

long recv_fd(int fd, void* buffer, size_t length, int flags) {
  iovec iov = {buffer, length};
  msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  return net_recvmsg(fd, &message, flags);
}

long send_fd(int fd, const std::string& bytes, int flags) {
  iovec iov = {const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  return net_sendmsg(fd, &message, flags);
}

std::string read_string(int fd, size_t length) {
  std::string buffer(length, '\0');
  const long result = read_fd(fd, buffer.data(), length);
  if (result < 0) {
    return "!" + std::to_string(-result);
  }
  buffer.resize(static_cast<size_t>(result));
  return buffer;
}

}  // namespace ftrun::shim::fake
