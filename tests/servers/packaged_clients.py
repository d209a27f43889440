# SPDX-License-Identifier: Apache-2.0
"""Clients that verify every answer, one class for each kind of packaged server.

A client is made with a port and a number of its own, and `request()` makes one request (or one small conversation) whose answer
shows that it was carried out exactly once: a counter of the client's own that must be one higher each time, an entry that cannot be
added twice, a message that must come back once and in order. Any other answer is an AssertionError; a connection that breaks is an
OSError. Runs in the process of a test; Python 3 standard library only.
"""

import hashlib
import http.client
import socket

TIMEOUT_S = 20


class Client:
    """A connection to `port`; `done` counts the requests that were answered rightly."""

    def __init__(self, port, number):
        self.port, self.number, self.done = port, number, 0
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def line(self):
        text = self.file.readline()
        if not text.endswith(b"\n"):
            raise ConnectionError(f"the connection ended after {text!r}")
        return text.rstrip(b"\r\n").decode()

    def take(self, count):
        data = self.file.read(count)
        if len(data) != count:
            raise ConnectionError(f"the connection ended after {len(data)} of {count} bytes")
        return data

    def request(self):
        self.ask(self.done + 1)
        self.done += 1


def expect(seen, wanted):
    assert seen == wanted, f"{seen!r} instead of {wanted!r}"


class Redis(Client):
    def ask(self, n):
        self.socket.sendall(f"INCR c{self.number}\r\n".encode())
        expect(self.line(), f":{n}")


class Memcached(Client):
    def connect(self):
        super().connect()
        self.socket.sendall(f"add c{self.number} 0 0 1\r\n0\r\n".encode())
        expect(self.line(), "STORED")

    def ask(self, n):
        value = b"%d " % n * 500
        self.socket.sendall(f"incr c{self.number} 1\r\nset v{self.number} 7 0 {len(value)}\r\n".encode() + value +
                            f"\r\nget v{self.number}\r\n".encode())
        expect([self.line() for _ in range(3)], [str(n), "STORED", f"VALUE v{self.number} 7 {len(value)}"])
        expect(self.take(len(value) + 7), value + b"\r\nEND\r\n")


class Http(Client):
    """Requests over one connection that stays open."""

    def connect(self):
        self.http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        self.http.connect()

    def close(self):
        self.http.close()

    def fetch(self, method, path, body=None):
        self.http.request(method, path, body)
        answer = self.http.getresponse()
        data = answer.read()
        expect(answer.status, 200)
        assert not answer.will_close, "the server closes the connection"
        return data


class CountingHttp(Http):
    """POST /NAME answers how often it was called."""

    def ask(self, n):
        expect(self.fetch("POST", f"/c{self.number}", b"x" * (n % 3000)), str(n).encode())


FILE = bytes(hashlib.sha256(b"%d" % i).digest()[0] for i in range(1 << 20))


class Files(Http):
    """A file of a mebibyte and ranges of it; where the server counts requests of a connection (/count), that too."""

    counts = False

    def ask(self, n):
        if n % 10 == 0:
            assert self.fetch("GET", "/file") == FILE, "the file came with other bytes"
        elif self.counts:
            expect(self.fetch("GET", "/count"), str(n).encode())
        else:
            expect(self.fetch("GET", f"/small{n % 5}"), b"small file %d\n" % (n % 5))


class CountedFiles(Files):
    counts = True


class OneCounter(Http):
    """All clients share a counter: each sees it grow, and no value twice."""

    seen = set()

    def ask(self, n):
        value = int(self.fetch("GET", "/"))
        assert value not in self.seen, f"the count {value} came twice"
        self.seen.add(value)

    @classmethod
    def check(cls, clients):
        expect(len(cls.seen), max(cls.seen))
        expect(len(cls.seen), sum(client.done for client in clients))
        cls.seen.clear()


class Beanstalk(Client):
    def connect(self):
        super().connect()
        self.socket.sendall(f"use t{self.number}\r\nwatch t{self.number}\r\nignore default\r\n".encode())
        expect([self.line() for _ in range(3)], [f"USING t{self.number}", "WATCHING 2", "WATCHING 1"])

    def ask(self, n):
        data = b"job %d " % n * 20
        self.socket.sendall(b"put 0 0 60 %d\r\n%s\r\nreserve\r\n" % (len(data), data))
        word, job = self.line().split()
        expect(word, "INSERTED")
        expect(self.line(), f"RESERVED {job} {len(data)}")
        expect(self.take(len(data) + 2), data + b"\r\n")
        self.socket.sendall(f"delete {job}\r\n".encode())
        expect(self.line(), "DELETED")

    @classmethod
    def check(cls, clients):
        """As many jobs as were put, and none left."""
        one = clients[0]
        one.socket.sendall(b"stats\r\n")
        stats = one.take(int(one.line().split()[1]) + 2).decode()
        expect([line for line in stats.splitlines() if line.startswith(("total-jobs:", "current-jobs-ready:"))],
               ["current-jobs-ready: 0", f"total-jobs: {sum(client.done for client in clients)}"])


class Mqtt(Client):
    """Each message goes to a topic of the client's own, with QoS 1, and comes back once."""

    def packet(self, kind, body):
        assert len(body) < 128
        self.socket.sendall(bytes([kind, len(body)]) + body)

    def hear(self):
        kind, length = self.take(2)
        return kind, self.take(length)

    @staticmethod
    def text(words):
        return len(words).to_bytes(2, "big") + words.encode()

    def connect(self):
        super().connect()
        self.topic = f"t/{self.number}"
        self.packet(0x10, self.text("MQTT") + bytes([4, 2, 0, 60]) + self.text(f"client{self.number}"))
        expect(self.hear(), (0x20, bytes(2)))
        self.packet(0x82, bytes([0, 1]) + self.text(self.topic) + bytes([1]))
        expect(self.hear(), (0x90, bytes([0, 1, 1])))

    def ask(self, n):
        name, identifier = f"message {n}".encode(), (n % 60000 + 1).to_bytes(2, "big")
        self.packet(0x32, self.text(self.topic) + identifier + name)
        heard = dict(self.hear() for _ in range(2))
        expect(heard[0x40], identifier)
        back, skip = heard[0x32], 2 + len(self.topic)
        expect(back[skip + 2:], name)
        self.packet(0x40, back[skip:skip + 2])


class Ldap(Client):
    """Adds an entry (which works once) and reads it again. BER: RFC 4511, lengths always in two bytes."""

    SUCCESS = b"\x0a\x01\x00"
    ROOT = "o=test"

    @staticmethod
    def element(tag, *parts):
        body = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
        return bytes([tag, 0x82]) + len(body).to_bytes(2, "big") + body

    def say(self, operation):
        self.message = getattr(self, "message", 0) + 1
        self.socket.sendall(self.element(0x30, self.element(2, self.message.to_bytes(4, "big")), operation))

    def hear(self):
        """The operation of the next message: its tag and its content."""
        _, content = self.read_element()
        _, rest = self.split(content)
        return self.split(rest, with_tag=True)

    def read_element(self):
        tag, length = self.take(2)
        if length & 0x80:
            length = int.from_bytes(self.take(length & 0x7f), "big")
        return tag, self.take(length)

    @staticmethod
    def split(data, with_tag=False):
        """The first element's content (with its tag, if wanted) and, without it, what follows."""
        length, begin = data[1], 2
        if length & 0x80:
            begin += length & 0x7f
            length = int.from_bytes(data[2:begin], "big")
        content = data[begin:begin + length]
        return (data[0], content) if with_tag else (content, data[begin + length:])

    def connect(self):
        super().connect()
        self.say(self.element(0x60, self.element(2, b"\3"), self.element(4, f"cn=admin,{self.ROOT}"),
                              self.element(0x80, "secret")))
        tag, content = self.hear()
        expect((tag, content[:3]), (0x61, self.SUCCESS))

    def attribute(self, name, value):
        return self.element(0x30, self.element(4, name), self.element(0x31, self.element(4, value)))

    def add(self, name, *attributes):
        self.say(self.element(0x68, self.element(4, name), self.element(0x30, *attributes)))
        tag, content = self.hear()
        expect((tag, content[:3]), (0x69, self.SUCCESS))

    def ask(self, n):
        name, value = f"cn=c{self.number}-{n},{self.ROOT}", f"value {n} " * 20
        self.add(name, self.attribute("objectClass", "device"), self.attribute("description", value))
        self.say(self.element(0x63, self.element(4, name), self.element(0x0a, b"\0"), self.element(0x0a, b"\0"),
                              self.element(2, b"\0"), self.element(2, b"\0"), self.element(1, b"\0"),
                              self.element(0x87, "objectClass"), self.element(0x30)))
        tag, content = self.hear()
        expect(tag, 0x64)
        assert value.strip().encode() in content, "the entry has another description"
        tag, content = self.hear()
        expect((tag, content[:3]), (0x65, self.SUCCESS))
