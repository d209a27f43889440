// SPDX-License-Identifier: Apache-2.0
// Names of constants, for notices: an operator knows AF_UNIX, not 1. Pure; no libc.
#pragma once

namespace ftrun::shim {

// nullptr for one that is not known.
const char* name_of_family(int domain);
const char* name_of_socket_type(int type);  // without SOCK_NONBLOCK and SOCK_CLOEXEC
const char* name_of_level(int level);
const char* name_of_option(int level, int option);
const char* name_of_fcntl(int command);
const char* name_of_ioctl(unsigned long request);

}  // namespace ftrun::shim
