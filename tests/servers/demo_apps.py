#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the servers of demo_apps/, bare or under ftrun, with the same expectations.

Under ftrun the unit must still be protected afterwards: had the other replica seen another order of
threads, another time or another number, it would have diverged and been taken out. Python 3 standard
library only.
"""

import argparse
import os
import re
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../faults"))
import harness  # noqa: E402

BUILD = os.path.join(harness.ROOT, "build")
AS_USER = False


class Lines:
    """A connection that speaks in lines."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("r")

    def say(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def hear(self):
        return self.file.readline().rstrip("\n")

    def close(self):
        self.file.close()
        self.socket.close()


class Subject:
    """A client's connection whose end is looked at; `number` is what endings_server calls it."""

    def __init__(self, port, says):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.sendall(says)
        self.number = None

    def end(self):
        """How many bytes come, and then what."""
        count = 0
        try:
            while data := self.socket.recv(65536):
                count += len(data)
            return count, "end"
        except ConnectionResetError:
            return count, "reset"
        except socket.timeout:
            return count, "nothing"
        finally:
            self.socket.close()


# What the client says, what the server does, and then, after what may happen in between, how it ends
# the connection; what the client sees: bytes, and how it ends. As Linux does it (tcp_close).
ENDINGS = {
    "all read": (b"abc", ["read 3"], ["close"], (0, "end")),
    "nothing said": (b"", [], ["close"], (0, "end")),
    "part read": (b"a request", ["read 2"], ["close"], (0, "reset")),
    "nothing read, after an answer": (b"a request", ["write 4"], ["close"], (4, "reset")),
    "looked at only": (b"abc", ["peek 3"], ["close"], (0, "reset")),
    "unread, no more wanted": (b"abc", ["shutdown 0"], ["close"], (0, "reset")),
    "all read, big answer": (b"abc", ["read 3", "write 100000"], ["close"], (100000, "end")),
    "zero linger": (b"abc", ["read 3", "linger 0"], ["close"], (0, "reset")),
    "zero linger after an answer": (b"abc", ["read 3", "write 4"], ["linger 0", "close"],
                                    (4, "reset")),
    "linger": (b"abc", ["read 3", "linger 9"], ["close"], (0, "end")),
    "zero linger taken back": (b"abc", ["read 3", "linger 0"], ["linger 9", "close"], (0, "end")),
    "only shut down": (b"abc", [], ["shutdown 1"], (0, "end")),
}


class DemoApps:
    def server(self, name, *arguments):
        port = harness.free_port()
        command = [os.path.join(BUILD, name), str(port), *arguments]
        server = self.make(command, port).start()
        self.addCleanup(server.stop)
        return server

    def connect(self, server):
        lines = Lines(server.port)
        self.addCleanup(lines.close)
        return lines

    def check_ended(self, server, status=0):
        self.assertEqual(server.process.wait(10), status)

    def test_threads_that_race(self):
        server = self.server("racy_server", "8")
        clients = [self.connect(server) for _ in range(4)]
        for _ in range(25):
            for client in clients:
                client.say("work 2000")
        seen = [client.hear() for client in clients for _ in range(25)]
        exact = sorted(int(re.search(r"exact (\d+)", line)[1]) for line in seen)
        self.assertEqual(exact, [2000 * i for i in range(1, 101)])
        clients[0].say("spawn 200")
        self.assertRegex(clients[0].hear(), r"^spawned 200: racy \d+$")
        self.check_protected(server)
        clients[0].say("stop")
        self.assertEqual(clients[0].hear(), "stopping")
        self.check_ended(server)
        self.assertIn("exact 200000", server.output())

    def test_a_thread_per_connection(self):
        server = self.server("thread_echo")
        problems = []

        def visit(number):
            try:
                client = Lines(server.port)
                if not client.hear().startswith("hello "):
                    problems.append("no greeting")
                for i in range(50):
                    client.say(f"{number} {i} " + "x" * (i * 37 % 3000))
                    if not client.hear().startswith(f"{number} {i} x") and i > 0:
                        problems.append(f"wrong echo {number} {i}")
                client.close()
            except OSError as error:
                problems.append(str(error))

        visitors = [threading.Thread(target=visit, args=(i,)) for i in range(40)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        self.assertEqual(problems, [])
        self.check_protected(server)
        last = self.connect(server)
        last.hear()
        last.say("quit")
        self.check_ended(server)

    def test_endings_as_clients_see_them(self):
        self.check_endings(lambda server: None)

    def order(self, control, *words):
        control.say(" ".join(str(word) for word in words) + " 0" * (3 - len(words)))
        return int(control.hear())

    def check_endings(self, between):
        """All endings at once; `between` is called when the server has done its part before."""
        server = self.server("endings_server")
        control = self.connect(server)
        order = lambda *words: self.order(control, *words)  # noqa: E731
        ports = [order("listen") for _ in range(3)]

        def subject(says):
            subject = Subject(ports[0], says)
            subject.number = order("accept", 0)
            return subject

        def obey(subject, words):
            verb, _, number = words.partition(" ")
            order(verb, subject.number, number or 0)

        subjects = {name: subject(says) for name, (says, *_) in ENDINGS.items()}
        for name, (_, before, _, _) in ENDINGS.items():
            for words in before:
                obey(subjects[name], words)
        exit_read, exit_unread = subject(b"abc"), subject(b"abc")
        obey(exit_read, "read 3")
        waiting = [[Subject(port, says) for says in (b"", b"abc", b"x" * 50000)] for port in ports]
        between(server)
        for name, (_, _, after, expected) in ENDINGS.items():
            for words in after:
                obey(subjects[name], words)
            self.assertEqual(subjects[name].end(), expected, name)
        order("unlisten", 1)
        order("stop_listening", 2)
        for crowd in waiting[1:]:
            self.assertEqual([client.end() for client in crowd], [(0, "reset")] * 3)
        control.say("exit 0 0")
        self.assertEqual(exit_read.end(), (0, "end"))
        self.assertEqual(exit_unread.end(), (0, "reset"))
        self.assertEqual([client.end() for client in waiting[0]], [(0, "reset")] * 3)
        self.check_ended(server)

    def test_select_with_time_outs(self):
        server = self.server("select_server")
        one, two = self.connect(server), self.connect(server)
        self.assertTrue(one.hear().startswith("welcome"))
        self.assertTrue(two.hear().startswith("welcome"))
        one.say("good morning")
        stamps = set()
        for client in (one, two):
            line = client.hear()
            while line == "tick":
                line = client.hear()
            stamps.add(line)
        self.assertEqual(len(stamps), 1)
        stamp = float(re.match(r"1 \[([\d.]+)\] good morning$", stamps.pop())[1])
        self.assertLess(abs(stamp - time.time()), 5)
        self.assertEqual(two.hear(), "tick")
        one.say("/roll")
        line = one.hear()
        while line == "tick":
            line = one.hear()
        self.assertRegex(line, "^rolled [1-6]$")
        self.check_protected(server)
        one.say("/quit")
        self.check_ended(server)


class BareApps(DemoApps, unittest.TestCase):
    @staticmethod
    def make(command, port):
        return harness.Server(command, port, AS_USER, ready=lambda: harness.accepts(port))

    def check_protected(self, server):
        pass


class ReplicatedApps(DemoApps, unittest.TestCase):
    @staticmethod
    def make(command, port):
        return harness.Unit(BUILD, command=command, port=port, as_user=AS_USER,
                            probe=harness.accepts)

    def check_protected(self, server):
        self.assertEqual(server.protection(), "protected",
                         server.ctl("events").stdout[-2000:])

    def test_endings_after_a_kill(self):
        for name in ("primary-app", "sender-app", "primary-supervisor", "sender-supervisor"):
            def kill(server, name=name):
                harness.kill_now(server.victim(name, server.status(), None))
            with self.subTest(name):
                self.check_endings(kill)


def main():
    global BUILD, AS_USER
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=BUILD)
    parser.add_argument("--under", choices=("bare", "ftrun", "both"), default="both")
    parser.add_argument("--as-user", action="store_true", help="run the servers unprivileged")
    parser.add_argument("patterns", nargs="*", help="parts of test names")
    options = parser.parse_args()
    BUILD, AS_USER = os.path.abspath(options.build), options.as_user
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in options.patterns] or None
    suite = unittest.TestSuite()
    for name, case in (("bare", BareApps), ("ftrun", ReplicatedApps)):
        if options.under in (name, "both"):
            suite.addTests(loader.loadTestsFromTestCase(case))
    result = unittest.TextTestRunner(verbosity=2, warnings="ignore").run(suite)
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)


if __name__ == "__main__":
    main()
