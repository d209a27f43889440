// SPDX-License-Identifier: Apache-2.0
// What of the shim goes over an exec: everything else is lost with the old image's memory, as the
// kernel's process goes on. It is written into the shared region just before and read from there by
// the new image's shim, which lies at another place: so values only, and addresses only of what is
// at a fixed one (the region). Runs in the application with the token held; no libc.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace ftrun::shim {

// Values in a row. One function of each module names its own: value() writes them in the old image
// and reads them in the new one, so that the two cannot differ.
class Carry {
 public:
  enum class Way { kSave, kRestore };
  Carry(Way way, uint8_t* area, size_t capacity) : way_(way), at_(area), left_(capacity) {}

  bool saves() const { return way_ == Way::kSave; }
  // Whether all that was saved had room. What did not is not there.
  bool fits() const { return fits_; }
  template <typename T>
  void value(T& item) {
    if (sizeof(T) > left_) {
      fits_ = false;
      return;
    }
    if (saves()) {
      __builtin_memcpy(at_, &item, sizeof(T));
    } else {
      __builtin_memcpy(static_cast<void*>(&item), at_, sizeof(T));
    }
    at_ += sizeof(T);
    left_ -= sizeof(T);
  }

 private:
  Way way_;
  uint8_t* at_;
  size_t left_;
  bool fits_ = true;
};

// Each module's part, beside its own state.
void doors_carry(Carry& carry);
void signals_carry(Carry& carry);   // ignored signals; handlers become the default
void pending_carry(Carry& carry);   // signals that wait
void alarm_carry(Carry& carry);     // the interval timer
void identity_carry(Carry& carry);  // inode numbers of state files
void inodes_carry(Carry& carry);    // those of virtual objects
void tcp_carry(Carry& carry);       // which ids were given
void time_carry(Carry& carry);      // clocks of CPU time
void limits_carry(Carry& carry);    // those that the shim moves in the kernel
void prctl_carry(Carry& carry);     // what the process has said of itself

// All of it. Saving: false if it is too much. Restoring: in the new image, before its trap is
// armed.
bool carry_save(long call_number);
void carry_restore();
// The last step of an exec, in the new image: the record of its success.
void exec_succeeded();
// The inherited descriptor of the region, in an image that an exec has started.
int find_region_descriptor();

}  // namespace ftrun::shim
