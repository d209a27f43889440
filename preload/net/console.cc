// SPDX-License-Identifier: Apache-2.0
// Standard output and error: see console.h. To the application they look like the write ends of
// pipes that always have room (no terminal: libc then buffers fully, in every replica alike).
// Runs in the application with the token held; no libc, no system calls.
#include "preload/net/console.h"

#include "preload/net/pool.h"

namespace ftrun::shim {
namespace {

struct Console : File {
  uint32_t stream = 0;
};

constexpr long kConsoleRoomBytes = 64 * 1024;
constinit Pool<Console> g_consoles;

uint32_t console_poll(File*, uint32_t) {
  return EPOLLOUT | EPOLLWRNORM;
}

long console_write(File* file, IoCursor* from, int) {
  long done = 0;
  while (from->left() > 0) {
    Output entry;
    entry.kind = OutputKind::kConsole;
    entry.id = static_cast<Console*>(file)->stream;
    entry.data = from->piece(&entry.length);
    entry.length = entry.length < kOutputDataBytesMax ? entry.length : kOutputDataBytesMax;
    const size_t written = emit_output(entry);
    if (written != entry.length) {
      return after_fault(done + static_cast<long>(written));
    }
    from->advance(entry.length);
    done += static_cast<long>(entry.length);
    end_full_turn();
  }
  return done;
}

long console_room(File*, int) {
  return kConsoleRoomBytes;
}

void console_release(File* file) {
  g_consoles.put(static_cast<Console*>(file));
}

constexpr FileOps kConsoleOps = {FileType::kConsole, console_poll, nullptr,
                                 console_write,      console_room, console_release};

}  // namespace

int console_stream(const File* console) {
  return static_cast<int>(static_cast<const Console*>(console)->stream);
}

File* console_create(int stream) {
  Console* console = g_consoles.get();
  file_init(console, &kConsoleOps, O_WRONLY);
  console->stream = static_cast<uint32_t>(stream);
  return console;
}

}  // namespace ftrun::shim
