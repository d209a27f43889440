#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that the checker and the harness find what they are there to find.

A proxy in front of a bare redis-server loses, doubles or changes a request or an answer, closes a
connection, or falls silent: the checker must say so. A fake ftrun (a bare server with idle helper
processes) must pass where an idle process is killed and fail where the server itself is.
"""

import argparse
import os
import re
import socket
import stat
import sys
import tempfile
import threading
import time
import unittest

import harness
import kill_replica

BUILD = os.path.join(harness.ROOT, "build")


class Proxy:
    """Relays connections to `target`; `tamper(chunk, to_server)` sees every chunk."""

    def __init__(self, target, tamper):
        self.target = target
        self.tamper = tamper
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            for ends, to_server in (((client, server), True), ((server, client), False)):
                threading.Thread(target=self.relay, args=(*ends, to_server), daemon=True).start()

    def relay(self, source, destination, to_server):
        try:
            while chunk := source.recv(65536):
                chunk = self.tamper(chunk, to_server)
                if chunk is None:
                    source.shutdown(socket.SHUT_RDWR)
                    break
                destination.sendall(chunk)
            destination.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


class Once:
    """Tampers with one chunk that contains `needle` (after some that pass) and with no other."""

    def __init__(self, needle, to_server, change, skip=20):
        self.needle, self.to_server, self.change, self.left = needle, to_server, change, skip

    def __call__(self, chunk, to_server):
        if to_server == self.to_server and self.needle in chunk and self.left >= 0:
            self.left -= 1
            if self.left < 0:
                return self.change(chunk)
        return chunk


def increment_by(amount):
    """Turns the first whole INCR of a chunk into an INCRBY with another amount."""
    return lambda chunk: re.sub(rb"\*2\r\n\$4\r\nINCR\r\n(\$\d+\r\n[^\r]+\r\n)",
                                rb"*3\r\n$6\r\nINCRBY\r\n\1$1\r\n%d\r\n" % amount, chunk, count=1)


class Tampering(unittest.TestCase):
    def check(self, tamper, *options):
        with harness.Bare() as server:
            proxy = Proxy(server.port, tamper)
            try:
                return harness.Checker(BUILD, proxy.port, 2, 7, "--connections", "5", "--rate",
                                       "3000", "--drain-seconds", "2", *options).result()
            finally:
                proxy.close()

    def test_an_honest_server_passes(self):
        report = self.check(lambda chunk, _: chunk, "--churn", "100", "--slow-reader")
        self.assertTrue(report["ok"], report)
        self.assertGreater(report["replies"], 1000)

    def test_a_doubled_request_is_found(self):
        one = b"*3\r\n$6\r\nINCRBY\r\n"

        def change(chunk):
            start = chunk.index(one)
            end = chunk.find(b"*", start + 1)
            return chunk + chunk[start:end if end > 0 else len(chunk)]

        report = self.check(Once(one, True, change))
        self.assertFalse(report["ok"])

    def test_a_counter_applied_twice_is_found(self):
        report = self.check(Once(b"$4\r\nINCR\r\n", True, increment_by(2)))
        self.assertFalse(report["ok"])
        self.assertEqual((report["doubled"], report["lost"]), (1, 0), report)

    def test_a_lost_increment_is_found(self):
        report = self.check(Once(b"$4\r\nINCR\r\n", True, increment_by(0)))
        self.assertFalse(report["ok"])
        self.assertEqual((report["doubled"], report["lost"]), (0, 1), report)

    def test_a_lost_answer_is_found(self):
        report = self.check(Once(b"+OK\r\n", False, lambda c: c.replace(b"+OK\r\n", b"", 1)))
        self.assertFalse(report["ok"])

    def test_a_doubled_answer_is_found(self):
        report = self.check(Once(b"+OK\r\n", False, lambda c: c.replace(b"+OK\r\n",
                                                                       b"+OK\r\n+OK\r\n", 1)))
        self.assertFalse(report["ok"])

    def test_a_changed_byte_is_found(self):
        report = self.check(Once(b">", False, lambda c: c.replace(b">", b"]", 1)))
        self.assertFalse(report["ok"])

    def test_a_lost_shared_addition_is_found_by_the_final_state(self):
        report = self.check(Once(b":shared:counter\r\n", True, lambda c: c.replace(
            b":shared:counter\r\n", b":shared:kounter\r\n", 1)))
        self.assertFalse(report["ok"])
        self.assertTrue(report["final_state_errors"])

    def test_a_closed_connection_is_found(self):
        report = self.check(Once(b"GET", True, lambda c: None))
        self.assertFalse(report["ok"])
        self.assertEqual(report["connection_error_count"], 1)

    def test_a_silence_is_measured(self):
        def pause(chunk):
            time.sleep(0.3)
            return chunk

        report = self.check(Once(b"GET", True, pause))
        self.assertTrue(report["ok"], report)
        self.assertGreater(report["longest_silence_us"], 250_000)


FAKE_FTRUN = """#!/usr/bin/env python3
import json, os, signal, subprocess, sys
unit = sys.argv[sys.argv.index("--unit") + 1]
server = subprocess.Popen(sys.argv[sys.argv.index("--") + 1:])
idle = [subprocess.Popen(["sleep", "1000"]) for _ in range(5)]
replica = lambda name, role, sender, pids: dict(id=name, role=role, sender=sender, state="live",
    app_pid=pids[0], supervisor_pid=pids[1], keeper_pid=pids[2], host="localhost", lsn=1,
    lag_records=0)
pids = [p.pid for p in idle]
status = dict(unit=unit, epoch=1, protection="protected", replicas=[
    replica("a", "primary", False, pids[0:3]), replica("b", "secondary", True,
    [server.pid] + pids[3:5])])
with open(os.environ["XDG_RUNTIME_DIR"] + "/status", "w") as file:
    json.dump(status, file)
def stop(*_):
    for p in idle + [server]:
        p.kill()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
while True:
    signal.pause()
"""
FAKE_FTCTL = """#!/bin/sh
if [ "$3" = stop ]; then exit 0; fi
cat "$XDG_RUNTIME_DIR/status"
"""


class Harness(unittest.TestCase):
    def run_fake(self, victim):
        with tempfile.TemporaryDirectory() as build:
            os.symlink(os.path.join(BUILD, "ftrun-check-clients"), build + "/ftrun-check-clients")
            for name, text in (("ftrun", FAKE_FTRUN), ("ftctl", FAKE_FTCTL)):
                with open(f"{build}/{name}", "w") as file:
                    file.write(text)
                os.chmod(f"{build}/{name}", stat.S_IRWXU)
            tempfile.tempdir = build  # evidence of the failure that is wanted goes with it
            try:
                return self.run_in(build, victim)
            finally:
                tempfile.tempdir = None

    @staticmethod
    def run_in(build, victim):
        return kill_replica.main(["--build", build, "--victim", victim, "--repetitions", "1",
                                  "--seconds", "1.5", "--rate", "3000", "--ignore-silence",
                                  "--seed", "5"])

    def test_an_idle_victim_passes(self):
        self.assertEqual(self.run_fake("primary-supervisor"), 0)

    def test_a_killed_server_fails(self):
        self.assertEqual(self.run_fake("sender-app"), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=BUILD)
    known, rest = parser.parse_known_args()
    BUILD = os.path.abspath(known.build)
    unittest.main(warnings="ignore", argv=[sys.argv[0], *rest])
