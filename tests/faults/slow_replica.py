#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A replica that is too slow slows the unit down, after as much log as --run-ahead says.

The supervisor of a secondary is stopped, with a time-out that it does not reach. Expected: clients are
served until the window is full, then they wait; `ftctl status` says SLOWED, and for whom; once it goes
on, every answer comes, in order, and nobody was lost. Python 3 standard library only.
"""

import os
import re
import signal
import socket
import time
import unittest

import harness

BUILD = os.path.join(harness.ROOT, "build")
VALUE = b"v" * 10_000
STUCK_S = 1.5  # without an answer: the unit waits
PATIENCE_S = 60
# What is in the rings of the primary's application beyond the window, and in one batch.
RINGS_BYTES = 8 << 20
MIB = 1 << 20


def request(number):
    value = b"%d:" % number + VALUE
    return b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n" % (len(value), value)


class Client:
    """Sends one request after the other, with some on their way."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.sent = 0
        self.answered = 0

    def run(self, until_sent):
        """Until all are answered, or none has been for a while. Whether all are."""
        self.socket.settimeout(STUCK_S)
        try:
            while self.answered < until_sent:
                while self.sent < until_sent and self.sent - self.answered < 8:
                    self.socket.sendall(request(self.sent))
                    self.sent += 1
                answer = self.socket.recv(65536)
                if answer.strip(b"+OK\r\n"):
                    raise harness.HarnessError(f"answered {answer[:100]!r}")
                self.answered += answer.count(b"+OK")
        except TimeoutError:
            return False
        return True


class SlowReplica(unittest.TestCase):
    def slow_down(self, size, least, most):
        unit = harness.Unit(BUILD, replicas=3, options=(
            "--topology=fanout", "--input=log", "--time-out-ms=30000", "--run-ahead", size))
        with unit:
            client = Client(unit.port)
            self.assertTrue(client.run(100))
            slow = next(r for r in unit.status()["replicas"]
                        if r["role"] != "primary" and not r["sender"])
            os.kill(slow["supervisor_pid"], signal.SIGSTOP)
            try:
                self.assertFalse(client.run(10_000))
                said = unit.ctl("status", timeout=PATIENCE_S).stdout
            finally:
                os.kill(slow["supervisor_pid"], signal.SIGCONT)
            served = client.answered * len(VALUE)
            found = re.search(r"SLOWED: the primary waits for replica (\w), which is (\d+) bytes",
                              said)
            self.assertTrue(found, said)
            self.assertEqual(found.group(1), slow["id"])
            self.assertTrue(least <= int(found.group(2)) <= most, said)
            self.assertTrue(least <= served <= most, served)
            began = time.monotonic()
            while not client.run(client.sent):
                self.assertLess(time.monotonic() - began, PATIENCE_S)
            self.assertTrue(client.run(client.sent + 100))
            self.assertNotIn("SLOWED", unit.ctl("status").stdout)
            self.assertEqual(len(unit.status()["replicas"]), 3)
            self.assertEqual(unit.protection(), "protected")

    def test_a_small_window_is_full_soon(self):
        self.slow_down("256k", MIB // 4, MIB // 4 + RINGS_BYTES)

    def test_a_large_window_takes_more(self):
        self.slow_down("16M", 16 * MIB, 16 * MIB + RINGS_BYTES)


if __name__ == "__main__":
    harness.run_tests(globals())
