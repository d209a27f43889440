#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that send urgent bytes and get some, through kills of either replica.

The server is demo_apps/urgent_server.cc. Each answer must be exact: no byte lost, doubled or shifted,
the urgent byte where SO_OOBINLINE wants it, a SIGURG for each, and the mark at the server's own urgent
byte. Some clients stay, others come and go. Python 3 standard library only.
"""

import array
import fcntl
import os
import random
import select
import socket
import threading
import time
import unittest

import harness

BUILD = os.path.join(harness.ROOT, "build")
CLIENTS = 8
PATIENCE_S = 20
SIOCATMARK = 0x8905


class Client:
    """One connection; `ask` sends a line with an urgent byte in it and checks the answer."""

    def __init__(self, port, in_line):
        self.in_line = in_line
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"inline\n" if in_line else b"apart\n")
        heard = self.hear()
        if heard != "ready\n":
            raise harness.HarnessError(f"greeted with {heard!r}")

    def hear(self):
        """A line; the byte at the mark in brackets."""
        text = ""
        while not text.endswith("\n"):
            if not select.select([self.socket], [], [], PATIENCE_S)[0]:
                raise harness.HarnessError(f"nothing after {text!r}")
            at_mark = array.array("i", [0])
            fcntl.ioctl(self.socket, SIOCATMARK, at_mark)
            got = self.socket.recv(1 if at_mark[0] else 4096).decode()
            if not got:
                raise harness.HarnessError(f"the connection ended after {text!r}")
            text += f"[{got}]" if at_mark[0] else got
        return text

    def ask(self, choose):
        before, after = (choose.choice("abcdefgh") * choose.choice((0, 1, 3, 40, 3000))
                         for _ in range(2))
        urgent = choose.choice("XYZ")
        if choose.random() < 0.5:  # in one segment with what was before it
            self.socket.send((before + urgent).encode(), socket.MSG_OOB)
        else:
            self.socket.sendall(before.encode())
            self.socket.send(urgent.encode(), socket.MSG_OOB)
        self.socket.sendall((after + "\n").encode())
        expected = f"{before}[{urgent}]{after}|s[!]\n" if self.in_line else \
            f"{before}{after}|{urgent}s[!]\n"
        heard = self.hear()
        if heard != expected:
            raise harness.HarnessError(f"{heard!r} instead of {expected!r}")

    def close(self):
        self.socket.close()


class Load(threading.Thread):
    """A client in a closed loop; one that churns connects anew after a few requests."""

    def __init__(self, port, number):
        super().__init__()
        self.port = port
        self.choose = random.Random(number)
        self.churns = number % 2 == 1
        self.enough = threading.Event()
        self.asked = 0
        self.problem = None

    def run(self):
        try:
            while not self.enough.is_set():
                client = Client(self.port, in_line=self.choose.random() < 0.5)
                asked = 0
                while not self.enough.is_set() and (not self.churns or asked < 5):
                    client.ask(self.choose)
                    asked += 1
                    self.asked += 1
                client.close()
        except (OSError, harness.HarnessError) as error:
            self.problem = repr(error)
            if isinstance(error, OSError) and self.churns and self.enough.is_set():
                self.problem = None


class UrgentData(harness.KillsOfEachProcess, unittest.TestCase):
    def load(self, server):
        loads = [Load(server.port, number) for number in range(CLIENTS)]
        for load in loads:
            load.start()
        return loads

    def finish(self, loads):
        for load in loads:
            load.enough.set()
        for load in loads:
            load.join(PATIENCE_S + 10)
        self.assertEqual([load.problem for load in loads if load.problem], [])
        for load in loads:
            self.assertGreater(load.asked, 0)

    def wait_for_requests(self, loads, count):
        until = [load.asked + count for load in loads]
        harness.until(lambda: any(load.problem for load in loads) or all(
            load.asked >= least for load, least in zip(loads, until)), PATIENCE_S, "requests")

    def test_bare(self):
        port = harness.free_port()
        server = harness.Server([os.path.join(BUILD, "urgent_server"), str(port)], port,
                                ready=lambda: harness.accepts(port))
        with server:
            loads = self.load(server)
            self.wait_for_requests(loads, 20)
            self.finish(loads)

    def kill(self, victim):
        port = harness.free_port()
        unit = harness.Unit(BUILD, command=[os.path.join(BUILD, "urgent_server"), str(port)],
                            port=port, probe=harness.accepts)
        with unit:
            loads = self.load(unit)
            self.wait_for_requests(loads, 10)
            if victim is not None:
                time.sleep(random.random() * 0.05)
                harness.kill_now(unit.victim(victim, unit.status(), random))
            self.wait_for_requests(loads, 10)
            self.finish(loads)
            events = unit.ctl("events").stdout
            for word in ("diverged", "is reset", "refused"):
                self.assertNotIn(word, events)


if __name__ == "__main__":
    harness.run_tests(globals())
