// SPDX-License-Identifier: Apache-2.0
// What an epoll event of the supervisor's loop is about: the top byte of its data. Supervisor only.
#pragma once

#include <cstdint>

namespace ftrun {

inline constexpr unsigned kTagShift = 56;
inline constexpr uint64_t kTagMask = uint64_t{0xff} << kTagShift;
inline constexpr uint64_t kTagEdge = uint64_t{1} << kTagShift;
inline constexpr uint64_t kTagDoorbell = uint64_t{2} << kTagShift;
inline constexpr uint64_t kTagLink = uint64_t{3} << kTagShift;  // low byte: replica
inline constexpr uint64_t kTagPeer = uint64_t{4} << kTagShift;  // its supervisor; low byte: replica
inline constexpr uint64_t kTagStatus = uint64_t{5} << kTagShift;
inline constexpr uint64_t kTagControl = uint64_t{6} << kTagShift;
inline constexpr uint64_t kTagKeeper = uint64_t{7} << kTagShift;
inline constexpr uint64_t kTagEvidence = uint64_t{8} << kTagShift;  // call stacks
inline constexpr uint64_t kTagSignals = uint64_t{9} << kTagShift;   // sent to this supervisor

}  // namespace ftrun
