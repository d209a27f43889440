#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records a server under load to a file, replays the file in a second process, compares memory.

The comparison itself is ftrun-record-replay's; this starts it, loads the server and checks that it
says "equal". Python 3 standard library only.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../faults"))
import harness  # noqa: E402


def wait_for(port, process):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the recorded server does not listen")


def lines_load(port, connections, rounds, line):
    """Each connection sends `line(i)` and waits for one line of answer, `rounds` times."""
    failures = []

    def client(index):
        try:
            with socket.create_connection(("127.0.0.1", port), 30) as s:
                stream = s.makefile("rwb")
                for i in range(rounds):
                    sent = line(index, i)
                    stream.write(sent)
                    stream.flush()
                    got = stream.readline()
                    if not got:
                        failures.append((sent, got))
                        return
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"the load failed: {failures[0]}")


def mixed_load(build, port, requests, seed):
    subprocess.run([f"{build}/ftrun-mixed-load", "--port", str(port), "--requests", str(requests),
                    "--seed", str(seed)], check=True)


def plan(options, port):
    """Program and load of the chosen server."""
    build = options.build
    if options.server == "redis":
        return (["/usr/bin/redis-server", "--port", str(port), "--save", "", "--appendonly", "no"],
                lambda: mixed_load(build, port, options.requests, options.seed))
    if options.server == "racy":
        def line(_, i):
            return b"spawn 5\n" if i % 50 == 49 else b"work %d\n" % (50 + i % 7)
        return ([f"{build}/racy_server", str(port), "4"],
                lambda: lines_load(port, 8, options.requests // 8, line))
    if options.server == "threads":
        return ([f"{build}/thread_echo", str(port)],
                # The first line is a greeting, so every answer is one line behind.
                lambda: [lines_load(port, 16, 20, lambda c, i: b"hello %d %d\n" % (c, i))
                         for _ in range(options.requests // 320)])
    return ([f"{build}/select_server", str(port)],
            lambda: lines_load(port, 16, options.requests // 16, lambda c, i: b"/roll\n" if i % 9 == 8 else b"line\n"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--server", choices=("redis", "racy", "threads", "select"), required=True)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--roles", action="store_true", help="two replicas that hand the primary's part to and fro")
    parser.add_argument("--early", action="store_true", help="replays at the same time, with early logging")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    print(f"seed {options.seed}", flush=True)
    port = harness.free_port()
    program, load = plan(options, port)
    with tempfile.TemporaryDirectory(prefix="ftrun-replay-") as directory:
        output = os.path.join(directory, "output")
        tool = [f"{options.build}/ftrun-record-replay", "--log", f"{directory}/log"]
        if options.early or options.roles:
            name = "early" if options.early else "role"
            tool = [f"{options.build}/ftrun-{name}-replay", "--seed", str(options.seed)]
        with open(output, "wb") as out:
            process = subprocess.Popen(
                [*tool, "--", *program],
                stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            wait_for(port, process)
            load()
            process.send_signal(signal.SIGUSR1)
            process.wait(240)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with open(output, encoding="utf-8", errors="replace") as text:
                said = text.read()
            print(said)
    return 0 if process.returncode == 0 and re.search(r"^equal$", said, re.M) else 1


if __name__ == "__main__":
    sys.exit(main())
