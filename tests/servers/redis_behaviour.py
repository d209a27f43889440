#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Redis' clients may rely on, expected alike of a bare redis-server and of a replicated one.

`--under bare|ftrun|both` says where to run. Python 3 standard library only.
"""

import argparse
import hashlib
import os
import re
import resource
import select
import socket
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../faults"))
import harness  # noqa: E402

BUILD = os.path.join(harness.ROOT, "build")
AS_USER = False
CROWD = 10_000


class ReplyError(Exception):
    """An error reply."""


class Client:
    """A plain RESP2 connection."""

    def __init__(self, port, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 16)

    @staticmethod
    def encode(*words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)

    def send(self, *words):
        self.socket.sendall(self.encode(*words))

    def read(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise ReplyError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        raise AssertionError(f"no reply starts like this: {line!r}")

    def ask(self, *words):
        self.send(*words)
        return self.read()

    def at_end(self):
        """Whether the server has closed, with nothing unread before the end."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return False

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Behaviour:
    """The expectations; subclasses say what the server runs under."""

    arguments = ("--maxclients", str(CROWD + 500))

    @classmethod
    def make(cls, *arguments):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.server = cls.make(*cls.arguments).start()

    @classmethod
    def tearDownClass(cls):
        leftover = cls.server.stop()
        assert not leftover, f"processes outlived the stop: {leftover}"

    def client(self):
        client = Client(self.server.port)
        self.addCleanup(client.close)
        return client

    def config(self, name, value):
        client = self.client()
        before = client.ask("CONFIG", "GET", name)[1]
        self.assertEqual(client.ask("CONFIG", "SET", name, value), "OK")
        self.addCleanup(lambda: Client(self.server.port).ask("CONFIG", "SET", name, before))

    def test_a_crowd_at_once(self):
        crowd = []
        try:
            for _ in range(CROWD):
                crowd.append(socket.create_connection(("127.0.0.1", self.server.port), 20))
            for client in crowd:
                client.sendall(b"PING\r\n")
            self.assertEqual([c for c in crowd if c.recv(16) != b"+PONG\r\n"], [])
            info = self.client().ask("INFO", "clients").decode()
            self.assertGreaterEqual(int(re.search(r"connected_clients:(\d+)", info)[1]), CROWD)
            for client in crowd:  # and once more: nobody was dropped meanwhile
                client.sendall(b"PING\r\n")
            self.assertEqual([c for c in crowd if c.recv(16) != b"+PONG\r\n"], [])
        finally:
            for client in crowd:
                client.close()

    def test_a_half_closed_connection_gets_its_answers(self):
        client = self.client()
        client.socket.sendall(b"".join(Client.encode("INCR", "half") for _ in range(100)))
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual([client.read() for _ in range(100)], list(range(1, 101)))
        self.assertTrue(client.at_end())

    def test_idle_connections_time_out(self):
        self.config("timeout", 1)
        idle, busy = self.client(), self.client()
        self.assertEqual(idle.ask("PING"), "PONG")
        start = time.monotonic()
        while not select.select([idle.socket], [], [], 0.2)[0]:
            self.assertEqual(busy.ask("PING"), "PONG")
            self.assertLess(time.monotonic() - start, 10)
        self.assertTrue(idle.at_end())
        self.assertGreater(time.monotonic() - start, 0.9)
        self.assertEqual(busy.ask("PING"), "PONG")

    def test_client_kill(self):
        victim, other = self.client(), self.client()
        number = victim.ask("CLIENT", "ID")
        self.assertEqual(other.ask("CLIENT", "KILL", "ID", number), 1)
        self.assertTrue(victim.at_end())
        self.assertEqual(other.ask("CLIENT", "KILL", "ID", other.ask("CLIENT", "ID"), "SKIPME",
                                   "no"), 1)
        self.assertTrue(other.at_end())

    def test_quit_sends_what_is_queued(self):
        client = self.client()
        value = os.urandom(1 << 20)
        client.ask("SET", "queued", value)
        client.socket.sendall(Client.encode("GET", "queued") * 20 + Client.encode("QUIT"))
        for _ in range(20):
            self.assertEqual(client.read(), value)
        self.assertEqual(client.read(), "OK")
        self.assertTrue(client.at_end())

    def test_a_protocol_error_is_answered_before_the_close(self):
        client = self.client()
        client.socket.sendall(b"*1\r\n$4\r\nPING\r\n*1\r\n!oops\r\n")
        self.assertEqual(client.read(), "PONG")
        with self.assertRaisesRegex(ReplyError, "Protocol error"):
            client.read()
        self.assertTrue(client.at_end())

    def test_input_that_comes_when_the_server_has_closed(self):
        endings = {Client.encode("QUIT"): b"+OK\r\n",
                   b"*1\r\n$99999999999\r\n": b"-ERR Protocol error: invalid bulk length\r\n",
                   b"POST / HTTP/1.1\r\nHost: here\r\n\r\n": b""}
        observer = self.client()
        observer.ask("DEL", "late")
        for i in range(300):
            ending, answer = list(endings.items())[i % len(endings)]
            client = Client(self.server.port)
            try:
                client.socket.sendall(ending + Client.encode("INCR", "late") * (i % 2))
                for _ in range(i % 5):
                    if i % 7 == 0:
                        time.sleep(0.0002)
                    client.send("INCR", "late")
            except OSError:
                pass  # it has closed already
            got = b""
            try:
                while data := client.socket.recv(100):
                    got += data
            except ConnectionResetError:
                pass
            client.close()
            self.assertEqual(got, answer)
        self.assertIsNone(observer.ask("GET", "late"))

    def test_input_of_clients_that_are_too_many(self):
        first = self.client()
        first.ask("CONFIG", "SET", "maxclients", 10)
        try:
            crowd = [Client(self.server.port) for _ in range(100)]
            for client in crowd:
                try:
                    client.send("INCR", "crowd")
                    client.send("INCR", "crowd")
                except OSError:
                    pass
            for client in crowd:
                client.close()
        finally:
            first.ask("CONFIG", "SET", "maxclients", CROWD + 500)
        self.assertEqual(first.ask("PING"), "PONG")

    def test_a_reset_in_mid_command_harms_nobody(self):
        client, other = Client(self.server.port), self.client()
        client.socket.sendall(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1000\r\nxxx")
        client.reset()
        self.assertEqual(other.ask("PING"), "PONG")

    def test_monitor_sees_other_clients(self):
        monitor, other = self.client(), self.client()
        self.assertEqual(monitor.ask("MONITOR"), "OK")
        for i in range(200):
            other.ask("SET", f"monitored:{i}", i)
        seen = []
        while len(seen) < 200:
            line = monitor.read()
            if "monitored:" in line:
                seen.append(line)
        for i, line in enumerate(seen):
            self.assertIn(f'"SET" "monitored:{i}" "{i}"', line)

    def test_huge_values(self):
        client = self.client()
        value = os.urandom(1 << 20) * 100
        digest = hashlib.sha256(value).digest()
        self.assertEqual(client.ask("SET", "huge", value), "OK")
        self.assertEqual(client.ask("STRLEN", "huge"), len(value))
        del value
        for _ in range(2):
            self.assertEqual(hashlib.sha256(client.ask("GET", "huge")).digest(), digest)
        self.assertEqual(client.ask("DEL", "huge"), 1)

    def test_publish_and_subscribe(self):
        subscriber, pattern, publisher = self.client(), self.client(), self.client()
        self.assertEqual(subscriber.ask("SUBSCRIBE", "news"), [b"subscribe", b"news", 1])
        self.assertEqual(pattern.ask("PSUBSCRIBE", "n*"), [b"psubscribe", b"n*", 1])
        publisher.socket.sendall(b"".join(Client.encode("PUBLISH", "news", i)
                                          for i in range(1000)))
        self.assertEqual([publisher.read() for _ in range(1000)], [2] * 1000)
        for i in range(1000):
            text = str(i).encode()
            self.assertEqual(subscriber.read(), [b"message", b"news", text])
            self.assertEqual(pattern.read(), [b"pmessage", b"n*", b"news", text])

    def test_blocking_pops(self):
        first, second, pusher = self.client(), self.client(), self.client()
        start = time.monotonic()
        self.assertIsNone(first.ask("BLPOP", "queue", "0.3"))
        self.assertGreaterEqual(time.monotonic() - start, 0.29)
        self.assertLess(time.monotonic() - start, 3)
        first.send("BLPOP", "queue", "0")
        self.wait_blocked(pusher, 1)
        second.send("BRPOP", "queue", "0")
        self.wait_blocked(pusher, 2)
        self.assertEqual(pusher.ask("RPUSH", "queue", "one", "two"), 2)
        self.assertEqual(first.read(), [b"queue", b"one"])
        self.assertEqual(second.read(), [b"queue", b"two"])
        first.send("XREAD", "BLOCK", "0", "STREAMS", "flow", "$")
        self.wait_blocked(pusher, 1)
        number = pusher.ask("XADD", "flow", "*", "a", "b")
        self.assertEqual(first.read(), [[b"flow", [[number, [b"a", b"b"]]]]])

    def wait_blocked(self, client, count):
        harness.until(lambda: f"blocked_clients:{count}\r\n" in
                      client.ask("INFO", "clients").decode(), 10, f"{count} blocked clients")

    def test_a_client_that_leaves_while_blocked(self):
        waiting, other = Client(self.server.port), self.client()
        waiting.send("BLPOP", "nothing", "0")
        self.wait_blocked(other, 1)
        waiting.close()
        self.wait_blocked(other, 0)
        self.assertEqual(other.ask("RPUSH", "nothing", "kept"), 1)
        self.assertEqual(other.ask("LLEN", "nothing"), 1)
        other.ask("DEL", "nothing")

    def test_a_very_deep_pipeline(self):
        client = self.client()
        count = 100_000
        client.socket.setblocking(True)
        received = 0
        out = memoryview(b"PING\r\n" * count)
        while received < 7 * count:
            readable, writable, _ = select.select([client.socket],
                                                  [client.socket] if out else [], [], 20)
            self.assertTrue(readable or writable, "stuck")
            if writable:
                out = out[client.socket.send(out[:65536]):]
            if readable:
                received += len(client.socket.recv(1 << 16))
        self.assertEqual(received, 7 * count)

    def test_a_slow_subscriber_is_dropped(self):
        self.config("client-output-buffer-limit", "pubsub 1mb 0 0")
        subscriber, publisher = self.client(), self.client()
        subscriber.ask("SUBSCRIBE", "flood")
        message = b"x" * 100_000
        harness.until(lambda: publisher.ask("PUBLISH", "flood", message) == 0, 20,
                      "dropping of a subscriber that does not read")

    def test_too_many_clients_are_told(self):
        first = self.client()
        harness.until(lambda: "connected_clients:1\r\n" in first.ask("INFO", "clients").decode(),
                      10, "leaving of earlier clients")
        first.ask("CONFIG", "SET", "maxclients", 2)
        try:
            second = self.client()
            self.assertEqual(second.ask("PING"), "PONG")
            third = self.client()
            with self.assertRaisesRegex(ReplyError, "max number of clients"):
                third.read()
            self.assertTrue(third.at_end())
        finally:
            first.ask("CONFIG", "SET", "maxclients", CROWD + 500)

    def test_addresses_are_the_clients_own(self):
        client = self.client()
        listed = client.ask("CLIENT", "INFO").decode()
        host, port = client.socket.getsockname()
        self.assertIn(f" addr={host}:{port} ", listed)
        self.assertIn(f" laddr=127.0.0.1:{self.server.port} ", listed)

    def test_time_and_expiry(self):
        client = self.client()
        seconds, micros = (int(x) for x in client.ask("TIME"))
        self.assertLess(abs(seconds + micros / 1e6 - time.time()), 2)
        client.ask("SET", "short", "x", "PX", "300")
        start = time.monotonic()
        while client.ask("GET", "short") is not None:
            self.assertLess(time.monotonic() - start, 3)
            time.sleep(0.005)
        self.assertGreater(time.monotonic() - start, 0.25)

    def test_a_long_script_kills_nobody(self):
        client, other = self.client(), self.client()
        client.send("EVAL", "local n = 0 for i = 1, 1e8 do n = n + 1 end return n", 0)
        self.assertEqual(client.read(), 10 ** 8)
        self.assertEqual(other.ask("PING"), "PONG")

    def test_random_values_differ(self):
        client = self.client()
        values = {client.ask("EVAL", "return redis.call('RANDOMKEY') or ''", 0) for _ in range(3)}
        self.assertTrue(values)
        self.assertRegex(client.ask("ACL", "GENPASS").decode(), "^[0-9a-f]{64}$")
        self.assertNotEqual(client.ask("ACL", "GENPASS"), client.ask("ACL", "GENPASS"))

    def test_shutdown(self):
        server = self.make().start()
        try:
            client, idle = Client(server.port), Client(server.port)
            idle.ask("PING")
            client.send("SHUTDOWN", "NOSAVE")
            self.assertTrue(client.at_end())
            self.assertTrue(idle.at_end())
            self.assertEqual(server.process.wait(10), 0)
            with self.assertRaises(ConnectionRefusedError):
                Client(server.port)
        finally:
            leftover = server.stop()
        self.assertEqual(leftover, [])

    def test_a_signal_stops_it_cleanly(self):
        server = self.make().start()
        try:
            client = Client(server.port)
            client.ask("PING")
            server.process.terminate()
            self.assertTrue(client.at_end())
            self.assertEqual(server.process.wait(15), 0)
        finally:
            leftover = server.stop()
        self.assertEqual(leftover, [])


class BareRedis(Behaviour, unittest.TestCase):
    @classmethod
    def make(cls, *arguments):
        return harness.Bare(*arguments, as_user=AS_USER)


class ReplicatedRedis(Behaviour, unittest.TestCase):
    @classmethod
    def make(cls, *arguments):
        return harness.Unit(BUILD, *arguments, as_user=AS_USER)

    def tearDown(self):
        # Whatever clients do, no replica is lost by it.
        if self.server.protection() != "protected":
            self.fail(self.server.ctl("events").stdout[-2000:])


def main():
    global BUILD, AS_USER
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=BUILD)
    parser.add_argument("--under", choices=("bare", "ftrun", "both"), default="both")
    parser.add_argument("--as-user", action="store_true", help="run the servers unprivileged")
    parser.add_argument("patterns", nargs="*", help="parts of test names")
    options = parser.parse_args()
    BUILD, AS_USER = os.path.abspath(options.build), options.as_user
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < CROWD + 1000:
        sys.exit(f"the hard limit of descriptors is {hard}; {CROWD + 1000} are needed")
    suite = unittest.TestSuite()
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in options.patterns] or None
    for name, case in (("bare", BareRedis), ("ftrun", ReplicatedRedis)):
        if options.under in (name, "both"):
            suite.addTests(loader.loadTestsFromTestCase(case))
    result = unittest.TextTestRunner(verbosity=2, warnings="ignore").run(suite)
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)


if __name__ == "__main__":
    main()
