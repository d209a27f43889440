#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Servers that are started by a script which executes them, with kills before, at and after that.

Under ftrun the exec is one event of the log; whichever replica is killed, the unit must come up, serve
every request exactly once, and end like the bare server. Python 3 standard library only.
"""

import argparse
import os
import random
import stat
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../faults"))
import harness  # noqa: E402

BUILD = os.path.join(harness.ROOT, "build")
CHAIN = 120  # execs before the server


def redis_words(port):
    return " ".join(f"'{word}'" for word in harness.redis_command(port))


class ExecStart(unittest.TestCase):
    def unit(self, make_script, port=None, probe=harness.answers):
        """A unit whose program is a script with the text that `make_script(port)` gives."""
        port = port or harness.free_port()
        unit = harness.Unit(BUILD, command=["./start"], port=port, probe=probe)
        unit.keep = False
        path = unit.path("start")
        with open(path, "w") as script:
            script.write(make_script(port))
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        self.addCleanup(unit.stop)
        return unit

    def serve_through_a_kill(self, unit, victim):
        checker = harness.Checker(BUILD, unit.port, 2, 7, "--rate", "3000", "--connections", "8")
        self.assertTrue(checker.wait_ready())
        time.sleep(0.5)
        harness.kill_now(unit.victim(victim, unit.status(), random.Random(1)))
        self.assertEqual(harness.troubles(checker.result()), [])
        self.assertEqual(unit.protection(), "unprotected")

    def test_a_shell_wrapper(self):
        for victim in ("primary-app", "sender-app", "sender-supervisor"):
            with self.subTest(victim):
                unit = self.unit(lambda port: "#!/bin/sh\nexport MARKED=yes\nulimit -n 1000\n"
                                              f"exec {redis_words(port)}\n").start()
                self.serve_through_a_kill(unit, victim)

    def test_env_as_interpreter(self):
        """A configuration file of Redis that is a program."""
        unit = self.unit(lambda port: f"#!/usr/bin/env redis-server\nport {port}\nbind 127.0.0.1\n"
                                      'save ""\nappendonly no\n').start()
        self.serve_through_a_kill(unit, "primary-app")
        unit.process.terminate()
        self.assertEqual(unit.process.wait(10), 0)

    def test_python_that_executes(self):
        unit = self.unit(lambda port: "#!/usr/bin/env python3\nimport os, time\ntime.sleep(0.01)\n"
                                      f"words = {harness.redis_command(port)!r}\n"
                                      "os.execvp(words[0], words)\n").start()
        self.serve_through_a_kill(unit, "sender-app")

    def test_kills_while_programs_are_executed(self):
        chain = os.path.join(BUILD, "program_exec")
        chance = random.Random(int.from_bytes(os.urandom(4), "big"))
        for round_number in range(6):
            victim = ("primary-app", "sender-app")[round_number % 2]
            wait = chance.uniform(0, 0.4)
            with self.subTest(victim=victim, wait=wait):
                unit = self.unit(lambda port: "#!/bin/sh\n"
                                 f"exec {chain} chain {CHAIN} {redis_words(port)}\n")
                unit.ready = lambda: self.killed(unit, victim, wait)
                unit.start()
                harness.until(lambda: harness.answers(unit.port), 20, "redis after the kill")
                self.assertEqual(unit.protection(), "unprotected", unit.ctl("events").stdout)
                unit.process.terminate()
                self.assertEqual(unit.process.wait(10), 0)

    @staticmethod
    def killed(unit, victim, wait):
        """Kills as soon as both replicas run; ready means that this is done."""
        if unit.protection() != "protected":
            return False
        time.sleep(wait)
        harness.kill_now(unit.victim(victim, unit.status(), random.Random(1)))
        return True


def main():
    global BUILD
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=BUILD)
    parser.add_argument("patterns", nargs="*", help="parts of test names")
    options = parser.parse_args()
    BUILD = os.path.abspath(options.build)
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in options.patterns] or None
    suite = loader.loadTestsFromTestCase(ExecStart)
    result = unittest.TextTestRunner(verbosity=2, warnings="ignore").run(suite)
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)


if __name__ == "__main__":
    main()
