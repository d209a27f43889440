// SPDX-License-Identifier: Apache-2.0
// See identity.h.
#include "preload/files/identity.h"

#include "preload/env.h"
#include "preload/exec/carry.h"

namespace ftrun::shim {
namespace {

// Open addressing, doubled when half full; the old table's memory stays with the arena (all tables
// together are at most twice the last one).
// Entries are never taken out: a file that comes back by another name has its number still. Where
// the kernel gives the inode number of a removed file to a new one, that shows the old number, as
// natively.
//
// Every replica has a table of its own, by its own inode numbers; `seen_inode` is what they share.
struct Entry {
  uint64_t own_inode;  // 0: free; the kernel gives no inode 0
  uint64_t own_device;
  uint64_t seen_inode;
};

struct Identities {
  Entry* entries = nullptr;
  uint64_t capacity = 0;
  uint64_t used = 0;
  uint64_t next_inode = 1;
};
Identities identities;

Entry* find(uint64_t device, uint64_t inode) {
  // `capacity` is a power of two, and the table half empty at least: the search ends.
  uint64_t slot = (inode * 0x9E3779B97F4A7C15u ^ device) & (identities.capacity - 1);
  for (;; slot = (slot + 1) & (identities.capacity - 1)) {
    Entry* entry = &identities.entries[slot];
    if (entry->own_inode == 0 || (entry->own_inode == inode && entry->own_device == device)) {
      return entry;
    }
  }
}

void grow() {
  const Entry* old = identities.entries;
  const uint64_t old_capacity = identities.capacity;
  identities.capacity = old_capacity == 0 ? 256 : old_capacity * 2;
  identities.entries =
      static_cast<Entry*>(arena_alloc(identities.capacity * sizeof(Entry), alignof(Entry)));
  for (uint64_t i = 0; i < old_capacity; ++i) {
    if (old[i].own_inode != 0) {
      *find(old[i].own_device, old[i].own_inode) = old[i];
    }
  }
}

Entry* entry_of(const struct stat& own) {
  if (identities.used * 2 >= identities.capacity) {
    grow();
  }
  Entry* entry = find(own.st_dev, own.st_ino);
  if (entry->own_inode == 0) {
    entry->own_inode = own.st_ino;
    entry->own_device = own.st_dev;
    identities.used++;
  }
  return entry;
}

}  // namespace

void identity_carry(Carry& carry) {
  // Slot by slot; where an entry lies in the new image's table does not matter, and does not show.
  carry.value(identities.next_inode);
  for (uint64_t slot = 0; carry.saves() && slot < identities.capacity; ++slot) {
    if (identities.entries[slot].own_inode != 0) {
      carry.value(identities.entries[slot]);
    }
  }
  Entry entry = {};  // ends the list
  do {
    carry.value(entry);
    if (entry.own_inode != 0) {
      struct stat own = {};
      own.st_dev = entry.own_device;
      own.st_ino = entry.own_inode;
      entry_of(own)->seen_inode = entry.seen_inode;
    }
  } while (entry.own_inode != 0);
}

void identity_hide(struct stat* about) {
  Entry* entry = entry_of(*about);
  if (entry->seen_inode == 0) {
    entry->seen_inode = identities.next_inode++;
  }
  about->st_ino = entry->seen_inode;
  about->st_dev = kStateDevice;
}

void identity_learn(const struct stat& seen, const struct stat& own) {
  entry_of(own)->seen_inode = seen.st_ino;
  // Once promoted, this replica goes on numbering above all that the application has been told.
  if (seen.st_ino >= identities.next_inode) {
    identities.next_inode = seen.st_ino + 1;
  }
}

}  // namespace ftrun::shim
