#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files outside the state directories that others use too, while a replica is killed.

pipe    every word written to a named pipe is taken once, in order
config  a file that is replaced all the time is read whole, and costs no replica
parts   a read of which the log carries parts is whole, wherever between them the kill hits
lock    a lock is the unit's: others see it held without a gap, and free when the unit has given it back

Exit status 0: all is well; the last line is the result as JSON. Python 3 standard library only.
"""

import argparse
import contextlib
import fcntl
import json
import os
import random
import shutil
import socket
import sys
import threading
import time
import zlib

from harness import NOBODY, HarnessError, Unit, accepts, conclude, free_port, kill_now, until

WORDS = 300


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("r")

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\n")
        return self.file.readline().strip()


class Run:
    def __init__(self, options, victim):
        self.errors = []
        self.victim = victim
        port = free_port()
        server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "outside_server.py")
        # That of whoever runs the test may be in a home that others cannot enter.
        python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
        # The server works in the unit's directory.
        self.unit = Unit(options.build, port=port, probe=accepts, as_user=options.as_user,
                         command=[python, server, str(port), "pipe", "config", "lock"])
        os.mkfifo(self.unit.path("pipe"))
        if options.as_user:
            os.chown(self.unit.path("pipe"), NOBODY, NOBODY)
        self.replace_config(0)
        with open(self.unit.path("lock"), "w"):
            pass
        self.unit.start()
        self.client = Client(port)

    def replace_config(self, version):
        with open(self.unit.path("config.new"), "wb") as file:
            file.write(bytes([97 + version % 26]) * (10 + version % 4000))
        os.rename(self.unit.path("config.new"), self.unit.path("config"))

    def check(self, good, text):
        if not good:
            self.errors.append(f"{self.victim}: {text}")

    def kill(self):
        if self.victim is not None:
            kill_now(self.unit.victim(self.victim, self.unit.status(), random))

    def pipe(self):
        with open(self.unit.path("pipe"), "w", buffering=1) as pipe:
            for word in range(WORDS):
                pipe.write(f"w{word}\n")
                if word == WORDS // 2:
                    self.kill()
                time.sleep(0.002)
            wanted = [f"w{word}" for word in range(WORDS)]
            with contextlib.suppress(HarnessError):
                until(lambda: self.client.ask("commands").split()[-1:] == wanted[-1:], 10, "the last")
            found = self.client.ask("commands").split()
        self.check(found == wanted, f"pipe: {len(found)} words, missing "
                   f"{sorted(set(wanted) - set(found))[:5]}, {len(found) - len(set(found))} twice")

    def config_file(self):
        stop = threading.Event()

        def replace():
            version = 0
            while not stop.wait(0.001):
                version += 1
                self.replace_config(version)
        writer = threading.Thread(target=replace)
        writer.start()
        try:
            answers = {self.client.ask(line) for line in ("config", "map") * 150}
        finally:
            stop.set()
            writer.join()
        self.check(all(answer.endswith(" whole") for answer in answers), f"config: {answers}")
        self.check(len(answers) > 3, f"config: never replaced: {answers}")

    def parts(self):
        content = random.randbytes(1_000_000)
        with open(self.unit.path("config.new"), "wb") as file:
            file.write(content)
        os.rename(self.unit.path("config.new"), self.unit.path("config"))
        threading.Timer(0.1 + 0.2 * random.random(), self.kill).start()
        deadline = time.monotonic() + 1
        answers = {self.client.ask("sum")}
        while time.monotonic() < deadline:
            answers.add(self.client.ask("sum"))
        self.check(answers == {f"{len(content)} {zlib.crc32(content)}"}, f"parts: {answers}")

    def is_free(self):
        with open(self.unit.path("lock")) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def lock(self):
        with open(self.unit.path("lock")) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.check(self.client.ask("lock") == "busy", "lock: taken although it is ours")
            threading.Timer(0.3, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
            self.check(self.client.ask("wait") == "held", "lock: not taken when it was free")
            time.sleep(0.1)
        self.check(not self.is_free(), "lock: free although it is held")
        stop, gaps = threading.Event(), []

        def watch():
            while not stop.is_set():
                if self.is_free():
                    gaps.append(time.monotonic())
        watcher = threading.Thread(target=watch)
        watcher.start()
        self.kill()
        time.sleep(0.5)
        stop.set()
        watcher.join()
        self.check(not gaps, f"lock: {len(gaps)} times free around the kill")
        self.check(self.client.ask("lock") == "held", "lock: lost")
        self.check(self.client.ask("unlock") == "free" and self.is_free(), "lock: not given back")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--case", choices=("pipe", "config", "parts", "lock"), required=True)
    parser.add_argument("--victim", action="append", default=[])
    parser.add_argument("--as-user", action="store_true", help="run the unit unprivileged")
    options = parser.parse_args()
    result = {"errors": []}
    for victim in options.victim or [None]:
        run = Run(options, victim)
        try:
            {"pipe": run.pipe, "config": run.config_file, "parts": run.parts,
             "lock": run.lock}[options.case]()
            if victim is None:
                run.check(run.unit.protection() == "protected",
                          f"a replica was lost: {run.unit.ctl('events').stdout[-1500:]}")
        except (HarnessError, OSError) as error:
            run.errors.append(f"{victim}: {error}")
        result["errors"] += conclude(run.unit, {"errors": run.errors})["errors"]
    print(json.dumps(result))
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
