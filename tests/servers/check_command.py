#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs `ftrun check` on programs with and without faults and looks at report and exit status.

Python 3 standard library only.
"""

import os
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../faults"))
import harness  # noqa: E402

BUILD = os.path.join(harness.ROOT, "build")


class CheckCommand(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="ftrun-test-")
        self.addCleanup(self.directory.cleanup)

    def begin(self, *arguments):
        return subprocess.Popen(
            [os.path.join(BUILD, "ftrun"), "check", *arguments], cwd=self.directory.name,
            env=dict(os.environ, XDG_RUNTIME_DIR=self.directory.name), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)

    def check(self, *arguments):
        """Exit status and what is printed."""
        process = self.begin(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def program(self, name):
        return os.path.join(BUILD, "program_" + name)

    def test_redis_under_load_is_clean(self):
        port = harness.free_port()
        process = self.begin("--for", "3", "--", *harness.redis_command(port))
        harness.until(lambda: harness.answers(port), 20, "redis")
        subprocess.run([os.path.join(BUILD, "ftrun-load"), "--port", str(port), "--connections",
                        "10", "--seconds", "1"], check=True, capture_output=True)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, out + err)
        self.assertRegex(out, r"ok +end +the server ended with status 0 after SIGTERM, as asked")
        self.assertRegex(out, r"ok +calls +none was refused or denied")
        self.assertRegex(out, r"note +input +[0-9]{5,} bytes of client input")
        self.assertIn("Nothing was found", out)

    def test_interrupt_ends_it(self):
        port = harness.free_port()
        process = self.begin("--", *harness.redis_command(port))
        harness.until(lambda: harness.answers(port), 20, "redis")
        time.sleep(0.2)
        process.send_signal(2)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, out + err)
        self.assertIn("after SIGINT, as asked", out)

    def test_refused_call_is_named(self):
        status, out, _ = self.check("--", self.program("refused"), "shmget")
        self.assertEqual(status, 0, out)
        self.assertRegex(out, r"loses +failed call +system call shmget is not supported: answered "
                              r"\w+, called from \S+libc")
        self.assertIn("Nothing was found that stops it; something is lost.", out)

    def test_a_computation_that_never_ends_stops_it(self):
        status, out, _ = self.check("--for", "3", "--", self.program("computing"), "ever")
        self.assertEqual(status, 1, out)
        self.assertRegex(out, r"stops +end +the server failed: has made no call for")
        self.assertRegex(out, r"stops +progress +a spin loop, or a computation that did not end")
        self.assertRegex(out, r"in wait_by_spinning \(program_computing\)")

    def test_what_the_run_did_not_show_is_named(self):
        _, out, _ = self.check("--", self.program("refused"), "none")
        self.assertRegex(out, r"unseen +calls +\S+program_refused can call .*fork.*; this run did not")

    def test_random_instruction_is_found_with_its_function(self):
        status, out, _ = self.check("--", self.program("rdrand"))
        self.assertEqual(status, 1, out)
        self.assertRegex(out, r"stops +RDRAND +possible, in \S+program_rdrand, roll")

    def test_computing_without_calls_is_seen(self):
        _, out, _ = self.check("--", self.program("rdrand"), "spin")
        self.assertRegex(out, r"harmless +progress +long computation: \d+ intervals")
        self.assertRegex(out, r"in spin \(program_rdrand\)")

    def test_what_cannot_be_run(self):
        self.assertEqual(self.check("--", "/nowhere/server")[0], 2)
        self.assertEqual(self.check()[0], 2)
        status, _, err = self.check("--replicas", "2", "--", "/bin/true")
        self.assertEqual(status, 2)
        self.assertIn("--replicas", err)


if __name__ == "__main__":
    harness.run_tests(globals())
