#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sends requests that crash the server, while 50 others add; only the poisoner may notice.

The server is demo_apps/crash_server.cc. Expected each time: the survivor serves on, every other client
gets each of its answers exactly once, the poisoner gets what it had earned and then a reset, and the
events name its address and its last bytes. Python 3 standard library only.
"""

import contextlib
import json
import os
import re
import selectors
import socket
import sys
import threading
import time
import unittest

import harness

BUILD = os.path.join(harness.ROOT, "build")
AS_USER = False
OTHERS = 50
PATIENCE_S = 20
POISONER = "127.0.0.66"


class Others(threading.Thread):
    """Clients that add in a closed loop and check every answer; `start` to `finish`."""

    def __init__(self, port):
        super().__init__()
        self.problems = []
        self.totals = set()
        self.added = 0
        self.longest_s = 0.0
        self.enough = threading.Event()
        self.counts = {}
        self.selector = selectors.DefaultSelector()
        for _ in range(OTHERS):
            client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
            self.counts[client] = 0
            self.selector.register(client, selectors.EVENT_READ)

    def run(self):
        try:
            self.load()
        except OSError as error:
            self.problems.append(repr(error))

    def load(self):
        waiting = set(self.counts)
        for client in self.counts:
            client.sendall(b"add\n")
        heard = time.monotonic()
        while waiting:
            ready = self.selector.select(PATIENCE_S)
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - heard)
            heard = now
            if not ready:
                self.problems.append(f"no answer for {PATIENCE_S} s")
                return
            for key, _ in ready:
                self.take(key.fileobj, key.fileobj.recv(4096))
                if self.enough.is_set():
                    waiting.discard(key.fileobj)
                else:
                    key.fileobj.sendall(b"add\n")

    def take(self, client, answer):
        self.counts[client] += 1
        self.added += 1
        words = answer.decode().split()
        if len(words) != 2 or int(words[0]) != self.counts[client] or int(words[1]) in self.totals:
            self.problems.append(f"request {self.counts[client]} is answered by {answer!r}")
        else:
            self.totals.add(int(words[1]))

    def finish(self):
        self.enough.set()
        self.join(PATIENCE_S + 10)
        for client in self.counts:
            client.close()
        return self.problems


class RequestOfDeath(unittest.TestCase):
    options = ()

    def start(self, *arguments, options=()):
        port = harness.free_port()
        self.unit = harness.Unit(
            BUILD, command=[os.path.join(BUILD, "crash_server"), str(port), *arguments], port=port,
            as_user=AS_USER, options=options, probe=harness.accepts)
        self.unit.start()
        self.addCleanup(self.unit.stop)
        self.others = Others(port)
        self.others.start()

    def poisoner(self, address=POISONER):
        client = socket.create_connection(("127.0.0.1", self.unit.port), PATIENCE_S, (address, 0))
        self.addCleanup(client.close)
        return client

    def events(self, kind):
        lines = [json.loads(line) for line in self.unit.ctl("events").stdout.splitlines()]
        return [line["text"] for line in lines if line["kind"] == kind]

    def hear_until_reset(self, client):
        """What comes before the reset."""
        heard = b""
        with self.assertRaises(ConnectionResetError):
            while True:
                part = client.recv(4096)
                self.assertTrue(part, f"an orderly end after {heard!r}")
                heard += part
        return heard

    def check_others(self, at_least=1):
        before = self.others.added
        harness.until(lambda: self.others.added > before + 100 or self.others.problems, 10,
                      "the others' next answers")
        self.assertEqual(self.others.finish(), [])
        self.assertEqual(len(self.events("promoted")), at_least)

    def check_crash(self, request, *arguments, signal=""):
        self.start(*arguments)
        client = self.poisoner()
        client.sendall(b"add\n")
        self.assertEqual(client.recv(100).split()[0], b"1")
        client.sendall(request)
        self.assertEqual(self.hear_until_reset(client), b"")
        self.check_others()
        [event] = self.events("quarantine")
        self.assertIn(f"of {POISONER}:", event)
        self.assertIn("its last input: add\\x0a" + request.decode().replace("\n", "\\x0a"), event)
        said = f"crashed by signal {signal}" if "handler" in arguments else "(nothing)"
        self.assertRegex(self.unit.ctl("report").stdout,
                         rf"crashed: signal {signal}.*, having read from connection \d+ in the same "
                         rf"turn\n\nWhat it wrote last:\n{re.escape(said)}\n")
        print(f"{request!r} {arguments}: longest silence {self.others.longest_s * 1000:.1f} ms, "
              f"{self.others.added} requests", file=sys.stderr)

    def test_segmentation_fault(self):
        self.check_crash(b"crash segv\n", signal=11)

    def test_abort(self):
        self.check_crash(b"crash abort\n", signal=6)

    def test_stack_overflow(self):
        self.check_crash(b"crash stack\n", signal=11)

    def test_division_by_zero(self):
        self.check_crash(b"crash fpe\n", signal=8)

    def test_illegal_instruction(self):
        self.check_crash(b"crash ill\n", signal=4)

    def test_fault_with_a_handler_that_waits_and_exits(self):
        self.check_crash(b"crash segv\n", "handler", signal=11)

    def test_abort_with_a_handler_that_waits_and_exits(self):
        self.check_crash(b"crash abort\n", "handler", signal=6)

    def test_fault_that_the_program_survives(self):
        self.start()
        client = self.poisoner()
        for _ in range(20):
            client.sendall(b"guarded\n")
            self.assertEqual(client.recv(100), b"survived\n")
        self.assertEqual(self.unit.protection(), "protected")
        self.check_others(at_least=0)
        self.assertEqual(self.events("quarantine"), [])

    def test_poison_in_two_packets(self):
        self.start()
        client = self.poisoner()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"crash se")
        time.sleep(0.1)  # the others' requests end many turns meanwhile
        client.sendall(b"gv\n")
        self.assertEqual(self.hear_until_reset(client), b"")
        self.check_others()
        self.assertIn("its last input: crash segv\\x0a", self.events("quarantine")[0])

    def test_earned_answers_come_before_the_reset(self):
        self.start()
        client = self.poisoner()
        client.sendall(b"add\n" * 1000)
        harness.until(lambda: len(client.recv(65536, socket.MSG_PEEK)) >= 4000, 10, "answers")
        client.sendall(b"crash segv\n")
        answers = self.hear_until_reset(client).splitlines()
        self.assertEqual([int(line.split()[0]) for line in answers], list(range(1, 1001)))
        self.check_others()

    def test_reconnecting_poisoner_waits(self):
        self.start(options=("--quarantine-hold", "1500"))
        client = self.poisoner()
        client.sendall(b"crash segv\n")
        self.hear_until_reset(client)
        since = time.monotonic()
        again = [self.poisoner() for _ in range(5)]
        for client in again:
            client.sendall(b"add\n")  # a poisoner might as well crash; it must not get so far
        other = self.poisoner("127.0.0.67")
        other.sendall(b"add\n")
        self.assertEqual(other.recv(100).split()[0], b"1")
        again[0].settimeout(0.5)
        with self.assertRaises(TimeoutError):
            again[0].recv(100)
        again[0].settimeout(PATIENCE_S)
        again[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        again[1].close()  # a reset meanwhile
        again[2].shutdown(socket.SHUT_WR)
        for client in again[0], again[2], again[3], again[4]:
            self.assertEqual(client.recv(100).split()[0], b"1")
        self.assertGreaterEqual(time.monotonic() - since, 1.4)
        self.check_others()
        self.assertEqual(self.events("quarantine_over"), ["4 connections that were held go on"])

    def test_poisoner_in_a_loop(self):
        self.start(options=("--quarantine-hold", "3600000"))
        client = self.poisoner()
        client.sendall(b"crash segv\n")
        self.hear_until_reset(client)
        deadline = time.monotonic() + 2
        resets = tries = 0
        while time.monotonic() < deadline:
            client = self.poisoner()
            client.sendall(b"crash segv\n")
            client.settimeout(0.05)
            tries += 1
            with contextlib.suppress(TimeoutError):
                try:
                    client.recv(100)
                except ConnectionResetError:
                    resets += 1
            client.close()
        self.assertGreater(tries, 10)
        self.assertEqual(resets, 0)
        self.check_others()
        self.assertEqual(self.unit.protection(), "unprotected")

    def test_two_poisons_end_the_unit_and_say_so(self):
        self.start()
        first, second = self.poisoner(), self.poisoner("127.0.0.68")
        second.sendall(b"add\n")
        second.recv(100)
        first.sendall(b"crash segv\n")
        self.hear_until_reset(first)
        second.sendall(b"crash segv\n")
        harness.until(lambda: self.unit.process.poll() is not None, 10, "the end of the unit")
        self.others.enough.set()
        self.others.join(10)
        self.assertNotEqual(self.unit.process.returncode, 0)
        self.assertIn("the last replica has lost its application", self.unit.output())

    def test_crash_in_a_timer_is_retried(self):
        for _ in range(5):  # the survivor draws anew with each "arm", and may lose: once in 256
            self.start()
            client = self.poisoner()
            with contextlib.suppress(OSError):
                while not self.others.problems and self.unit.protection() == "protected":
                    for _ in range(10):
                        client.sendall(b"arm\n")
                        if client.recv(100) != b"armed\n":
                            break
                        time.sleep(0.002)
            # Whether it has lost shows in the others' next answers; the unit's end comes later.
            before = self.others.added
            harness.until(lambda: self.others.added > before + 100 or self.others.problems, 10,
                          "the others' next answers")
            if not self.others.problems:
                break
            self.others.finish()
            self.unit.stop()
        self.check_others()
        self.assertEqual(self.events("quarantine"), [])
        client.sendall(b"add\n")
        self.assertEqual(client.recv(100).split()[0], b"1")

    def test_policy_retry_offers_the_poison_again(self):
        self.start(options=("--on-crash", "retry"))
        client = self.poisoner()
        client.sendall(b"crash segv\n")
        harness.until(lambda: self.unit.process.poll() is not None, 10, "the end of the unit")
        self.others.enough.set()
        self.others.join(10)


if __name__ == "__main__":
    harness.run_tests(globals())
