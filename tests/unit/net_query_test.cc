// SPDX-License-Identifier: Apache-2.0
// Sockets that only ask about the host (preload/net/query.h), over the fake environment. The
// answers of a real kernel: tests/programs/network.cc.
#include <arpa/inet.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <string>

#include "tests/unit/fake_env.h"

namespace ftrun::shim {
namespace {

class NetQueryTest : public testing::Test {
 protected:
  void SetUp() override { fake::reset(); }
};

TEST_F(NetQueryTest, RefusesAtTheNameWhatWouldLeaveTheUnit) {
  const int datagram = static_cast<int>(net_socket(AF_INET, SOCK_DGRAM, 0));
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_port = htons(53);
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(net_bind(datagram, reinterpret_cast<sockaddr*>(&in), sizeof(in)), -EADDRNOTAVAIL);
  EXPECT_EQ(net_connect(datagram, reinterpret_cast<sockaddr*>(&in), sizeof(in)), 0);
  EXPECT_EQ(fake::send_fd(datagram, "question", 0), -ENETUNREACH);
  EXPECT_EQ(fake::send_fd(datagram, "question", 0), -ENETUNREACH);
  const int local = static_cast<int>(net_socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un name = {AF_UNIX, "/run/service"};
  EXPECT_EQ(net_connect(local, reinterpret_cast<sockaddr*>(&name), sizeof(name)), -ENOENT);
  EXPECT_EQ(net_bind(local, reinterpret_cast<sockaddr*>(&name), sizeof(name)), -EADDRNOTAVAIL);
  std::string notices;
  for (const auto& notice : fake::outputs_of(OutputKind::kNotice)) {
    notices += notice.data + "\n";
  }
  EXPECT_EQ(notices,
            "refused: bind of a UDP socket to 127.0.0.1:53: only TCP is supported\n"
            "refused: sending over a UDP socket: only TCP is supported\n"
            "refused: bind of a Unix socket to /run/service: Unix sockets are not supported\n");
  net_close(datagram);
  net_close(local);
}

// What is asked comes back, in the fake environment: one message a datagram, named for the socket
// that asked.
TEST_F(NetQueryTest, AnswersNetlinkQuestionsInDatagrams) {
  const int fd = static_cast<int>(net_socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE));
  struct {
    nlmsghdr header;
    char body[20];
  } question = {};
  question.header = {sizeof(question), RTM_GETADDR, NLM_F_REQUEST, 7, 0};
  const std::string bytes(reinterpret_cast<char*>(&question), sizeof(question));
  EXPECT_EQ(fake::send_fd(fd, bytes + bytes, 0), static_cast<long>(2 * sizeof(question)));
  nlmsghdr answer = {};
  EXPECT_EQ(fake::recv_fd(fd, &answer, sizeof(answer), MSG_TRUNC),
            static_cast<long>(sizeof(question)));
  EXPECT_EQ(answer.nlmsg_pid, application_process_id());
  EXPECT_EQ(fake::read_string(fd).size(), sizeof(question));
  EXPECT_EQ(fake::read_string(fd), "!11");
  question.header.nlmsg_type = RTM_NEWADDR;  // would change the host
  fake::send_fd(fd, std::string(reinterpret_cast<char*>(&question), sizeof(question)), 0);
  struct {
    nlmsghdr header;
    nlmsgerr body;
  } refusal = {};
  EXPECT_EQ(fake::recv_fd(fd, &refusal, sizeof(refusal), 0), static_cast<long>(sizeof(refusal)));
  EXPECT_EQ(refusal.header.nlmsg_type, NLMSG_ERROR);
  EXPECT_EQ(refusal.body.error, -EPERM);
  question.header.nlmsg_len = 4;  // shorter than a header: ignored, as the kernel does
  EXPECT_EQ(fake::send_fd(fd, std::string(reinterpret_cast<char*>(&question), sizeof(question)), 0),
            static_cast<long>(sizeof(question)));
  EXPECT_EQ(fake::read_string(fd), "!11");
  net_close(fd);
}

}  // namespace
}  // namespace ftrun::shim
