#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""More clients than the backlog allows, through kills of either replica.

The server (this file) serves one client at a time. While it does, as many others are connected as its
backlog allows, before the kill and after it; when it goes on, all are served. Python 3 standard library
only.
"""

import concurrent.futures
import os
import random
import socket
import sys
import time
import unittest

import harness

BUILD = os.path.join(harness.ROOT, "build")
BACKLOG = 5
CLIENTS = 12
PATIENCE_S = 20


def serve(port):
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    while True:
        client, _ = listener.accept()
        with client, client.makefile("rb") as lines:
            for line in lines:
                client.sendall(line)


def begin(port):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
    return client


def is_connected(client):
    try:
        client.getpeername()
        return True
    except OSError:
        return False


class FullBacklog(harness.KillsOfEachProcess, unittest.TestCase):
    def ask(self, client, line):
        client.settimeout(PATIENCE_S)
        client.sendall(line)
        heard = b""
        while not heard.endswith(b"\n"):
            got = client.recv(4096)
            self.assertTrue(got, f"the connection ended after {heard!r}")
            heard += got
        self.assertEqual(heard, line)

    def finish(self, number, client):
        harness.until(lambda: is_connected(client), PATIENCE_S, "a connection")
        self.ask(client, b"client %d\n" % number)
        client.close()

    def kill(self, victim):
        port = harness.free_port()
        command = [sys.executable, os.path.abspath(__file__), "--serve", str(port)]
        unit = harness.Unit(BUILD, command=command, port=port, probe=harness.accepts)
        with unit:
            served = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            self.ask(served, b"first\n")
            clients = []
            for _ in range(CLIENTS):
                clients.append(begin(port))
                time.sleep(0.02)
            count = sum(map(is_connected, clients))
            self.assertEqual(count, BACKLOG + 1)
            if victim is not None:
                harness.kill_now(unit.victim(victim, unit.status(), random))
            self.ask(served, b"still there\n")
            time.sleep(2)  # for the kernel to try again for those that are not connected
            self.assertLessEqual(sum(map(is_connected, clients)), BACKLOG + 1)
            served.close()
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(self.finish, range(CLIENTS), clients))
            events = unit.ctl("events").stdout
            for word in ("diverged", "is reset", "listener_lost", "refused"):
                self.assertNotIn(word, events)


if __name__ == "__main__":
    harness.run_tests(globals())
