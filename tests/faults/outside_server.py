#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server that takes commands from a named pipe, reads a configuration file again and again, and
locks a file. Arguments: port, pipe, configuration file, file to lock. Clients ask by lines:

    commands        the words read from the pipe so far
    config          reads the configuration file: the first byte, and whether all others are the same
    map             the same of the file's mapping
    sum             one read of the whole file: its length, and a checksum
    lock, unlock    flock without waiting: "held" or "busy"; "free"
    wait            flock, waiting as long as it takes: "held"

Runs bare or under ftrun. Python 3 standard library only.
"""

import fcntl
import mmap
import os
import select
import socket
import sys
import zlib


def look_at(data):
    return f"{data[:1].decode()} {'whole' if data == data[:1] * len(data) else 'MIXED'}"


class Server:
    def __init__(self, port, pipe, config, locked):
        self.config = config
        self.words = []
        self.pipe = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.locked = os.open(locked, os.O_RDONLY)
        self.listener = socket.create_server(("127.0.0.1", port))
        self.poll = select.poll()
        self.poll.register(self.pipe, select.POLLIN)
        self.poll.register(self.listener, select.POLLIN)
        self.clients = {}
        self.partial = b""

    def answer(self, line):
        if line == "commands":
            return " ".join(self.words)
        if line == "config":
            with open(self.config, "rb", buffering=0) as file:
                return look_at(file.read(100000))
        if line == "sum":
            with open(self.config, "rb", buffering=0) as file:
                data = file.read(1 << 20)
            return f"{len(data)} {zlib.crc32(data)}"
        if line == "map":
            with open(self.config, "rb") as file:
                return look_at(mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)[:])
        if line in ("lock", "wait"):
            try:
                fcntl.flock(self.locked, fcntl.LOCK_EX | (fcntl.LOCK_NB if line == "lock" else 0))
            except BlockingIOError:
                return "busy"
            return "held"
        if line == "unlock":
            fcntl.flock(self.locked, fcntl.LOCK_UN)
            return "free"
        return "?"

    def read_pipe(self):
        data = os.read(self.pipe, 4096)
        if not data:
            self.poll.unregister(self.pipe)  # as daemons do: the writer is gone
            os.close(self.pipe)
            self.pipe = -1
        *lines, self.partial = (self.partial + data).split(b"\n")
        self.words += [line.decode() for line in lines]

    def serve(self):
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.pipe:
                    self.read_pipe()
                elif fd == self.listener.fileno():
                    client, _ = self.listener.accept()
                    self.clients[client.fileno()] = client
                    self.poll.register(client, select.POLLIN)
                else:
                    line = self.clients[fd].recv(100)
                    if line:
                        self.clients[fd].sendall(self.answer(line.decode().strip()).encode() + b"\n")
                    else:
                        self.poll.unregister(fd)
                        self.clients.pop(fd).close()


Server(int(sys.argv[1]), *sys.argv[2:5]).serve()
