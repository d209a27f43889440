#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that send requests without end and never read an answer, beside one that does.

The server is memcached, which stops reading from a client that does not take its answers; or one that
closes each connection when it has answered, as much as the socket takes. Expected: the other client is
served all the time, what the bad ones send stays with their kernels once windows and queues are full,
and no process of the unit goes on growing. Skipped, loudly, where there is no memcached.
"""

import contextlib
import os
import shutil
import socket
import sys
import threading
import time
import unittest

import harness

BUILD = os.path.join(harness.ROOT, "build")
BAD_CLIENTS = 50
VALUE_BYTES = 20_000
REQUEST = b"get big\r\n" * 400
SECONDS = 6
SLOWEST_ANSWER_S = 1.0
# All processes of a unit, from when windows are full to the end: a little is the allocator's.
GROWTH_BYTES_MAX = 16 << 20


# Clients of the server that closes: each leaves its window of output (256 KiB) beyond what the kernel
# takes, and the edge is to keep this in all.
LEFT = 80
KEPT_MAX = 4 << 20


def resident_bytes(pids):
    """By process: private and shared memory that is in use now."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as statm:
            total += int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


class BadClient:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.sent = 0

    def push(self):
        """Sends until nobody takes more."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                self.sent += self.socket.send(REQUEST)


def exchange(client, request, end):
    client.sendall(request)
    answer = b""
    while not answer.endswith(end):
        part = client.recv(65536)
        if not part:
            raise harness.HarnessError("the good client's connection has ended")
        answer += part
    return answer


def leave(port):
    """Asks for more than any socket takes, and reads nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(b"give 8000000\n")
    return client


def take(port, count):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"give %d\n" % count)
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer


class NeverReads(unittest.TestCase):
    def closes(self, *options):
        port = harness.free_port()
        unit = harness.Unit(
            BUILD, command=[os.path.join(BUILD, "hasty_server"), str(port)], port=port,
            options=[f"--orphan-memory={KEPT_MAX}", "--time-out-ms=2000", *options],
            probe=harness.accepts)
        with unit:
            sizes, left = [], []
            for number in range(LEFT):
                left.append(leave(port))
                if number % 10 == 9:
                    self.assertEqual(take(port, 5000), b"x" * 5000)
                    sizes.append(resident_bytes(unit.pids()))
            events = unit.ctl("events").stdout
            print(f"{' '.join(options) or 'in memory'}: {LEFT} clients left; resident after each ten: "
                  f"{[size >> 20 for size in sizes]} MiB", file=sys.stderr)
            self.assertEqual(unit.protection(), "protected")
            self.assertIn("does not take its output", events)
            # Sender and primary each keep it once; the rings have been used by then.
            self.assertLess(sizes[-1] - sizes[1], 2 * KEPT_MAX + GROWTH_BYTES_MAX // 2)
            for client in left:
                client.close()

    def test_connections_that_the_server_has_closed(self):
        self.closes()

    def test_connections_that_the_server_has_closed_over_tcp(self):
        self.closes("--transport=tcp")

    @unittest.skipUnless(shutil.which("memcached"), "SKIPPED: there is no memcached here")
    def flood(self, replicas, *options):
        port = harness.free_port()
        command = ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(port), "-U", "0",
                   "-t", "2", "-c", "500"]
        unit = harness.Unit(BUILD, replicas=replicas, command=command, port=port, options=options,
                            probe=harness.accepts)
        with unit:
            good = socket.create_connection(("127.0.0.1", port), timeout=30)
            value = b"v" * VALUE_BYTES
            exchange(good, b"set big 0 0 %d\r\n%s\r\n" % (len(value), value), b"STORED\r\n")
            bad = [BadClient(port) for _ in range(BAD_CLIENTS)]
            slowest, answers, sizes, stop = 0.0, 0, [], threading.Event()

            def flood():
                while not stop.is_set():
                    for client in bad:
                        client.push()
                    time.sleep(0.01)

            flooder = threading.Thread(target=flood)
            flooder.start()
            try:
                begin = time.monotonic()
                while time.monotonic() - begin < SECONDS:
                    asked = time.monotonic()
                    answer = exchange(good, b"incr n 1\r\nget small\r\n", b"END\r\n")
                    self.assertEqual(answer, b"NOT_FOUND\r\nEND\r\n")
                    slowest = max(slowest, time.monotonic() - asked)
                    answers += 1
                    if answers % 100 == 0:
                        sizes.append((time.monotonic() - begin, resident_bytes(unit.pids())))
            finally:
                stop.set()
                flooder.join()
            self.assertEqual(unit.protection(), "protected")
            half = [size for at, size in sizes if at > SECONDS / 2]
            sent = sum(client.sent for client in bad)
            print(f"{replicas} replicas: {answers} answers, slowest {slowest * 1000:.0f} ms, bad "
                  f"clients sent {sent >> 20} MiB, resident {sizes[0][1] >> 20} MiB at first, "
                  f"{half[0] >> 20} MiB at half, {half[-1] >> 20} MiB at the end", file=sys.stderr)
            self.assertLess(slowest, SLOWEST_ANSWER_S)
            self.assertLess(half[-1] - half[0], GROWTH_BYTES_MAX)

    def test_two_replicas_in_memory(self):
        self.flood(2)

    def test_two_replicas_over_tcp(self):
        self.flood(2, "--transport=tcp")

    def test_chain_of_three(self):
        self.flood(3)

    def test_fanout_of_three(self):
        self.flood(3, "--topology=fanout")


if __name__ == "__main__":
    harness.run_tests(globals())
