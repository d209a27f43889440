#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants non-determinism in one replica of a unit; it must be caught, reported and survived.

The server is tests/programs/planted.cc: it looks at a clock and at random numbers behind the shim's
back, or the test changes the memory or the log of its second replica. Expected each time: every
request of every client is answered exactly once and as the primary computed it, the second replica is
out of the unit and its application gone, and `ftctl report` tells where and with which call stacks.
Python 3 standard library only.
"""

import json
import os
import stat
import struct
import subprocess
import threading
import unittest

import harness

BUILD = os.path.join(harness.ROOT, "build")
AS_USER = False
SPIN_ROUNDS = 400_000_000  # a third of a second or more


class Client:
    """Speaks in lines; each gets one."""

    def __init__(self, port):
        self.socket = harness.socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("r")

    def say(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def hear(self):
        return self.file.readline().rstrip("\n")

    def ask(self, line):
        self.say(line)
        return self.hear()

    def silent(self):
        """Whether nothing that was not asked for has come."""
        self.socket.settimeout(0.05)
        try:
            return self.file.read(1) == ""
        except OSError:
            return True

    def close(self):
        self.file.close()
        self.socket.close()


class Adders(threading.Thread):
    """Clients that add all the time; `totals` are the answers."""

    def __init__(self, port, clients=4):
        super().__init__()
        self.clients = [Client(port) for _ in range(clients)]
        self.totals = []
        self.problems = []
        self.enough = threading.Event()

    def run(self):
        try:
            while not self.enough.is_set():
                for client in self.clients:
                    client.say("add 1")
                for client in self.clients:
                    self.totals.append(int(client.hear().removeprefix("total ")))
        except (OSError, ValueError) as error:
            self.problems.append(repr(error))

    def finish(self):
        self.enough.set()
        self.join()
        silent = all(client.silent() for client in self.clients)
        for client in self.clients:
            client.close()
        return self.problems + ([] if silent else ["answers that nobody asked for"])


class Memory:
    """The memory of another process."""

    def __init__(self, pid):
        self.path = f"/proc/{pid}/mem"

    def read(self, address, length):
        with open(self.path, "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(length)

    def read_word(self, address):
        return struct.unpack("<Q", self.read(address, 8))[0]

    def write(self, address, data):
        with open(self.path, "wb", buffering=0) as memory:
            memory.seek(address)
            memory.write(data)


class Divergence(unittest.TestCase):
    def setUp(self):
        port = harness.free_port()
        program = os.path.join(BUILD, "program_planted")
        self.layout = json.loads(subprocess.run([program, "layout"], capture_output=True,
                                                check=True).stdout)
        self.unit = harness.Unit(BUILD, command=[program, str(port)], port=port, as_user=AS_USER,
                                 probe=harness.accepts)
        self.unit.start()
        self.addCleanup(self.unit.stop)
        self.client = Client(port)
        self.addCleanup(self.client.close)
        replicas = self.unit.status()["replicas"]
        self.second = next(r for r in replicas if r["role"] == "secondary")
        self.first = next(r for r in replicas if r["role"] == "primary")
        none = self.unit.ctl("report")
        self.assertEqual((none.returncode, none.stdout), (1, ""))
        self.assertIn("no replica has diverged", none.stderr)

    def events(self, kind):
        lines = [json.loads(line) for line in self.unit.ctl("events").stdout.splitlines()]
        return [line["text"] for line in lines if line["kind"] == kind]

    def check_excluded(self):
        harness.until(lambda: self.unit.protection() == "unprotected", 10, "the unit's new view")
        harness.until(lambda: not os.path.exists(f"/proc/{self.second['app_pid']}"), 5,
                      "the end of the diverged application")
        self.assertTrue(os.path.exists(f"/proc/{self.first['app_pid']}"))

    def report_of(self, replica, reports=2):
        """The text of a replica's report, as ftctl prints it and as it lies in the directory."""
        harness.until(lambda: len(self.events("report")) == reports, 5, "the reports")
        paths = [text.rpartition(": ")[2] for text in self.events("report")]
        path = next(path for path in paths if path.endswith("." + replica["id"]))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path) as file:
            text = file.read()
        shown = self.unit.ctl("report")
        self.assertEqual(shown.returncode, 0)
        self.assertIn(text, shown.stdout)
        self.assertEqual(shown.stdout, self.unit.ctl("report", "--all").stdout)
        return text

    def check_reports(self, *patterns, function="main"):
        """What both reports must say; `function` stands in the diverged replica's stack."""
        text = self.report_of(self.second)
        for pattern in patterns:
            self.assertRegex(text, pattern)
        self.assertRegex(text, r"thread \d+ \(tid 2 in its namespace\):\n  #0 ")
        self.assertRegex(text, rf"#\d+ +0x[0-9a-f]+ .*\b{function}\b.* \(program_planted\+0x")
        survivor = self.report_of(self.first)
        self.assertIn(f"replica {self.second['id']}: ", survivor)
        self.assertRegex(survivor, r"#\d+ +0x[0-9a-f]+ main\+0x[0-9a-f]+ \(program_planted\+0x")

    def under_load(self, plant):
        """Calls plant() while other clients add; their answers must be 1, 2, 3, … each once."""
        adders = Adders(self.unit.port)
        adders.start()
        try:
            plant()
            self.check_excluded()
        finally:
            problems = adders.finish()
        self.assertEqual(problems, [])
        self.assertEqual(sorted(adders.totals), list(range(1, len(adders.totals) + 1)))
        self.assertEqual(self.client.ask("add 1"), f"total {len(adders.totals) + 1}")
        self.assertTrue(self.client.silent())

    def check_value_told(self, question):
        """A value that only the primary can know is the one that the client gets."""
        answers = []
        self.under_load(lambda: answers.append(self.client.ask(question)))
        self.assertEqual(answers[0], self.client_again("last"))
        self.check_output_report()

    def client_again(self, line):
        self.client.close()
        self.client = Client(self.unit.port)
        return self.client.ask(line)

    def check_output_report(self):
        # Where the supervisors have both outputs in memory, the report has the bytes themselves.
        shown = "" if harness.TRANSPORT else (
            r"\nfirst difference: write of \d+ bytes for connection \d+ here, of \d+ there, "
            r"byte \d+: (?:[0-9a-f]{2} )+\".*\" here, (?:[0-9a-f]{2} )+\".*\" there")
        self.check_reports(r"diverged: output differs in the turns before log position \d+ "
                           r"\(record \d+\): digest [0-9a-f]{16} here, [0-9a-f]{16} there" + shown)
        self.assertRegex(self.events("diverged")[0], r"output differs .*record \d+")

    def check_record_report(self, function="main"):
        self.check_reports(r"diverged at record \d+\n  the log has:     .*\n  this replica has: .*\n"
                           r"  thread 0 \(tid 2 in its namespace\), call \d+, last read from "
                           r"connection \d+", function=function)
        self.assertRegex(self.events("diverged")[0], r"diverged at record \d+")

    def test_an_unlogged_clock_in_the_output(self):
        self.check_value_told("clock")

    def test_an_unlogged_random_number_in_the_output(self):
        if self.client.ask("random") == "no such instruction":
            self.skipTest("this processor has no RDRAND")
        # The first one was enough: the unit is unprotected, and the answer the primary's.
        self.check_excluded()
        self.check_output_report()

    def test_calls_that_depend_on_an_unlogged_clock(self):
        answers = []
        self.under_load(lambda: answers.append(self.client.ask("clock-call")))
        self.assertEqual(answers, ["called"])
        # With fewer calls than the primary's it is noticed behind make_calls(), else in there.
        self.check_record_report()

    def test_calls_that_depend_on_an_unlogged_random_number(self):
        if self.client.ask("random-call") == "no such instruction":
            self.skipTest("this processor has no RDRAND")
        self.check_excluded()
        self.check_record_report()

    def test_a_flipped_bit_in_memory(self):
        address = int(self.client.ask("where"))
        memory = Memory(self.second["app_pid"])

        def plant():
            value = memory.read_word(address)
            memory.write(address, struct.pack("<Q", value ^ (1 << 40)))

        self.under_load(plant)
        self.check_output_report()

    def while_it_is_behind(self, request):
        """Lets the second replica compute for long and puts `request` into its log meanwhile.

        Returns its memory and the address of the request's last byte there."""
        memory = Memory(self.second["app_pid"])
        used = harness.cpu_seconds([self.first["app_pid"]])
        self.client.say(f"spin {SPIN_ROUNDS}")
        # ORDER: the request comes when the first replica computes already, so in a later turn.
        harness.until(lambda: harness.cpu_seconds([self.first["app_pid"]]) > used + 0.02, 15,
                      "the first replica's computing")
        other = Client(self.unit.port)
        self.addCleanup(other.close)
        other.say(request)
        needle = request.encode() + b"\n"

        def find():
            head = memory.read_word(self.layout["log_in_head"])
            tail = memory.read_word(self.layout["log_in_tail"])
            waiting = memory.read(self.layout["log_in_data"] + tail % self.layout["log_in_bytes"],
                                  head - tail)
            at = waiting.find(needle)
            return at >= 0 and (self.layout["log_in_data"] + tail % self.layout["log_in_bytes"] +
                                at)

        return other, memory, harness.until(find, 15, "the request in the second replica's log")

    def test_a_flipped_bit_in_logged_input(self):
        other, memory, address = self.while_it_is_behind("add 70")
        memory.write(address + 4, b"6")
        self.assertEqual(other.hear(), "total 70")
        self.assertEqual(self.client.hear(), "spun")
        self.check_excluded()
        self.assertEqual(self.client.ask("add 1"), "total 71")
        self.check_output_report()

    def test_a_flipped_bit_in_a_log_record(self):
        other, memory, address = self.while_it_is_behind("add 70")
        # The record that ends this turn: its first byte is behind the request.
        byte = memory.read(address + len("add 70\n"), 1)[0]
        memory.write(address + len("add 70\n"), bytes([byte ^ 0x02]))
        self.assertEqual(other.hear(), "total 70")
        self.assertEqual(self.client.hear(), "spun")
        self.check_excluded()
        self.assertEqual(self.client.ask("add 1"), "total 71")
        self.assertIn("last read from connection", self.events("app_failed")[0])
        # Another kind of record is a divergence, of which the survivor hears; nonsense is not.
        diverged = bool(self.events("diverged"))
        text = self.report_of(self.second, reports=2 if diverged else 1)
        self.assertRegex(text, r"diverged at record \d+\n|the log does not decode at position \d+|"
                               r"ends without its end mark")
        self.assertRegex(text, r"#\d+ .*\bmain\+0x")


if __name__ == "__main__":
    harness.run_tests(globals())
