// SPDX-License-Identifier: Apache-2.0
// A listening socket in the fake environment, and clients that connect to it. Test programs only.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tests/unit/fake_env.h"

namespace ftrun::shim {

class ListenerTest : public testing::Test {
 protected:
  void SetUp() override {
    fake::reset();
    listener_ = fake::listening_socket();
    listener_id_ = fake::last_bound_socket();
  }
  void TearDown() override { net_close(listener_); }
  fake::Connection connect(int flags = SOCK_NONBLOCK) {
    return fake::connect_to(listener_, listener_id_, flags);
  }

  int listener_ = -1;
  uint32_t listener_id_ = 0;
};

}  // namespace ftrun::shim
