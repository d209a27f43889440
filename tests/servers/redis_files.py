#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Redis that keeps its data in files, under ftrun: what the recipe tells an operator to do works.

Stopped with SAVE and started again; with an append-only file; with a replica killed before; and after the
whole unit has died at once. Python 3 standard library only.
"""

import argparse
import os
import shutil
import socket
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../faults"))
import harness  # noqa: E402

BUILD = os.path.join(harness.ROOT, "build")
KEYS = 1000
NO_REWRITE = ("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")


class Redis(harness.Unit):
    """A unit whose Redis has `data` as its directory."""

    def __init__(self, data, *more, options=()):
        port = harness.free_port()
        super().__init__(BUILD, port=port, options=("--state-dir", data, *options),
                         command=harness.redis_command(port, "--dir", data, *more))

    def ask(self, *words):
        """One command; its reply as text up to the first line's end, or the value of a bulk reply."""
        with socket.create_connection(("127.0.0.1", self.port), 20) as client:
            client.sendall(f"*{len(words)}\r\n".encode() + b"".join(
                b"$%d\r\n%s\r\n" % (len(word), word) for word in (w.encode() for w in words)))
            with client.makefile("rb") as file:
                line = file.readline().rstrip().decode()
                if not line.startswith("$") or line == "$-1":
                    return line
                return file.read(int(line[1:])).decode()

    def fill(self, text):
        for key in range(KEYS):
            assert self.ask("SET", f"key:{key}", f"{text} {key}") == "+OK"

    def check(self, text):
        assert self.ask("DBSIZE") == f":{KEYS}", self.ask("DBSIZE")
        for key in range(0, KEYS, 37):
            assert self.ask("GET", f"key:{key}") == f"{text} {key}"

    def kill(self, role, process):
        """Kills `process` of the replica in that role, by the pid that the status has."""
        [replica] = [r for r in self.status()["replicas"] if r["role"] == role]
        harness.kill_now(replica[process])
        harness.until(lambda: self.protection() == "unprotected", 10, "the failover")

    def end(self, *words):
        """Ends by a command of Redis; waits for ftrun."""
        self.ask(*words)
        self.process.wait(20)


class RedisFiles(unittest.TestCase):
    def setUp(self):
        self.place = os.path.realpath(tempfile.mkdtemp(prefix="ftrun-redis-"))
        self.data = os.path.join(self.place, "data")
        os.mkdir(self.data)

    def tearDown(self):
        shutil.rmtree(self.place, ignore_errors=True)

    def left(self):
        """What stands beside the data directory: copies of replicas, if any."""
        return sorted(os.listdir(self.place))

    def test_saved_and_started_again(self):
        with Redis(self.data) as unit:
            unit.fill("first")
            unit.end("SHUTDOWN", "SAVE")
            self.assertEqual(unit.process.returncode, 0)
        self.assertIn("dump.rdb", os.listdir(self.data))
        self.assertEqual(self.left(), ["data"])
        with Redis(self.data) as unit:
            unit.check("first")

    def test_saved_by_a_survivor(self):
        for victim in (("primary", "app_pid"), ("secondary", "supervisor_pid")):
            with self.subTest(victim):
                with Redis(self.data) as unit:
                    unit.kill(*victim)
                    unit.fill(victim[0])
                    unit.end("SHUTDOWN", "SAVE")
                with Redis(self.data) as unit:
                    unit.check(victim[0])
                    unit.end("SHUTDOWN", "NOSAVE")

    def test_append_only_file(self):
        with Redis(self.data, *NO_REWRITE) as unit:
            unit.fill("appended")
            unit.kill("primary", "supervisor_pid")
            unit.check("appended")
            unit.end("SHUTDOWN")
        with Redis(self.data, *NO_REWRITE) as unit:
            unit.check("appended")

    def test_append_only_file_of_a_unit_that_died_at_once(self):
        with Redis(self.data, *NO_REWRITE, "--appendfsync", "always") as unit:
            unit.fill("survived")
            for replica in unit.status()["replicas"]:
                harness.kill_now(replica["supervisor_pid"])
            unit.process.wait(20)
        with self.assertRaisesRegex(harness.HarnessError, "--recover"):
            Redis(self.data, *NO_REWRITE).start()
        with Redis(self.data, *NO_REWRITE, options=("--recover",)) as unit:
            unit.check("survived")
            unit.end("SHUTDOWN")
        self.assertEqual(self.left(), ["data"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=BUILD)
    known, rest = parser.parse_known_args()
    BUILD = os.path.abspath(known.build)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
