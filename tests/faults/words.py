#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a program says before it ends, and what a unit says of a program that computes.

Every way of ending, with one replica and with two: what the bare program writes appears on ftrun's
output and in `ftctl logs`, once. Code that makes no calls is named, and can be ended. Python 3
standard library only.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import harness

BUILD = os.path.join(harness.ROOT, "build")
PATIENCE_S = 60


class Words(unittest.TestCase):
    def setUp(self):
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="ftrun-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.directory)
        self.started = []
        self.addCleanup(self.end_all)

    def end_all(self):
        for process in self.started:
            if process.poll() is None:
                self.ctl("stop", "--wait-ms", "10000")
                process.kill()
            process.communicate()

    def program(self, name):
        return os.path.join(BUILD, "program_" + name)

    def start(self, *command, options=()):
        process = subprocess.Popen(
            [os.path.join(BUILD, "ftrun"), "--unit", "words", *harness.TRANSPORT, *options, "--",
             *command], cwd=self.directory, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def run_unit(self, *command, options=()):
        process = self.start(*command, options=options)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    def ctl(self, *arguments):
        return subprocess.run([os.path.join(BUILD, "ftctl"), "--unit", "words", *arguments],
                              env=self.env, capture_output=True, text=True, timeout=PATIENCE_S)

    def until_event(self, kind):
        def look():
            lines = self.ctl("events").stdout.splitlines()
            return [event["text"] for event in map(json.loads, lines) if event["kind"] == kind]
        return harness.until(look, PATIENCE_S, f"an event {kind}")

    # --- last words ---

    def check_end(self, how, replicas, crashes=True):
        native = subprocess.run([self.program("dying"), how], capture_output=True, text=True)
        status, out, err = self.run_unit(self.program("dying"), how,
                                         options=("--replicas", str(replicas)))
        wanted = native.returncode if native.returncode >= 0 else 128 - native.returncode
        if how == "handler":  # a handler's exit is its end, by the signal of the crash
            wanted = 128 + signal.SIGSEGV
        self.assertEqual(status, wanted, out + err)
        self.assertEqual(out, native.stdout)
        for line in native.stderr.splitlines():
            self.assertEqual(err.count(line), 1, f"{line!r} in {err}")
        logs = self.ctl("logs")
        self.assertEqual(logs.stdout, native.stdout)
        self.assertEqual(logs.stderr, native.stderr)
        if crashes:
            report = self.ctl("report").stdout
            for line in native.stdout.splitlines() + native.stderr.splitlines():
                self.assertIn(line, report)

    def test_every_crash_keeps_its_words(self):
        for how in ("assert", "exception", "thread", "abort", "fault", "handler", "reraise"):
            for replicas in (1, 2):
                with self.subTest(how=how, replicas=replicas):
                    self.check_end(how, replicas)

    def test_every_other_end_too(self):
        for how in ("exit", "_exit", "term", "return"):
            for replicas in (1, 2):
                with self.subTest(how=how, replicas=replicas):
                    self.check_end(how, replicas, crashes=False)

    # More than may wait for the end of a turn.
    def test_a_very_long_write_is_no_failure(self):
        for replicas in (1, 2):
            status, _, err = self.run_unit(self.program("dying"), "loud",
                                           options=("--replicas", str(replicas)))
            self.assertEqual(status, 0, err)
            self.assertNotIn("app_failed", self.ctl("events").stdout)

    # --- a start that fails ---

    def test_what_the_loader_says_is_told(self):
        lonely = os.path.join(self.directory, "lonely")
        shutil.copy(self.program("vanishing"), lonely)
        for replicas in (1, 2):
            status, out, err = self.run_unit(lonely, options=("--replicas", str(replicas)))
            self.assertEqual((status, out), (127, ""))
            self.assertRegex(err, r"before it had started: .*error while loading shared libraries: "
                                  r"libprogram_vanishing_library.so")

    # --- code that makes no calls ---

    def test_a_spin_is_named_and_a_stop_ends_it(self):
        process = self.start(self.program("computing"), "ever")
        self.until_event("no_calls")
        status = self.ctl("status")
        self.assertRegex(status.stdout, r"STANDS STILL: replica a has made no call for \d+\.\d s, "
                                        r"in wait_by_spinning \(program_computing\), thread 2\n")
        self.assertEqual(status.returncode, 0)
        began = time.monotonic()
        self.assertEqual(self.ctl("stop", "--wait-ms", "30000").returncode, 0)
        self.assertGreater(time.monotonic() - began, 2)
        out, err = process.communicate(timeout=PATIENCE_S)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM, err)
        self.assertEqual((out + err).count("begin\n"), 1)  # of the copy that was given up, or of both
        self.assertRegex(err, r"WARNING: replica a: the program has made no call for \d+\.\d s, in "
                              r"wait_by_spinning \(program_computing\)")
        self.assertRegex(err, r"it does not hear SIGTERM")
        self.assertIn("wait_by_spinning", self.ctl("report").stdout)

    def test_a_signal_to_ftrun_ends_a_spin(self):
        for number, replicas in ((signal.SIGTERM, 1), (signal.SIGINT, 2)):
            process = self.start(self.program("computing"), "ever",
                                 options=("--replicas", str(replicas), "--stop-grace", "0.5"))
            harness.until(lambda: "STANDS STILL" in self.ctl("status").stdout, PATIENCE_S, "a spin")
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, 128 + number, err)

    def test_the_limit_ends_it(self):
        status, _, err = self.run_unit(self.program("computing"), "ever",
                                       options=("--spin-limit", "2.5"))
        self.assertEqual(status, 128 + signal.SIGKILL, err)
        self.assertRegex(err, r"UNPROTECTED: replica a failed \(.*has made no call for .*the limit is "
                              r"2\.5 s\)")

    def test_a_long_computation_goes_on(self):
        rounds = 10
        process = self.start(self.program("computing"), str(rounds))
        said = self.until_event("no_calls")
        self.assertEqual(len(said), 1)
        out, err = process.communicate(timeout=10 * PATIENCE_S)
        self.assertEqual(process.returncode, 0, err)
        self.assertRegex(out, r"^begin\n\d+\nend\n$")
        self.assertNotIn("UNPROTECTED", err)
        self.assertTrue(re.search(r"makes calls again, after|has ended", err), err)


if __name__ == "__main__":
    harness.run_tests(globals())
