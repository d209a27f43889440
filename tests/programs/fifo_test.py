#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs that read commands from a named pipe in the ways that servers do, natively and as a unit:
both must read the same, and no replica may be lost. The same file is the program (with a way and the
pipe as arguments).

Python 3 standard library only.
"""

import os
import select
import subprocess
import sys
import tempfile
import time

WORDS = ("one", "two", "quit")


def again_and_again(path):
    """Waits in open, reads to the end, closes."""
    words = []
    while "quit" not in words:
        with open(path) as pipe:
            words += pipe.read().split()
    return words


def never_ending(path):
    """Keeps the pipe open to write as well, so that its end never comes; epoll."""
    pipe = os.open(path, os.O_RDWR)
    epoll = select.epoll()
    epoll.register(pipe, select.EPOLLIN)
    data = b""
    while b"quit" not in data and epoll.poll(10):
        data += os.read(pipe, 100)
    return data.decode().split()


def blocking_dup(path):
    """The same by a second descriptor; waits in read, of a dup."""
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.open(path, os.O_WRONLY)
    os.set_blocking(pipe, True)
    copy = os.dup(pipe)
    os.close(pipe)
    data = b""
    while b"quit" not in data:
        data += os.read(copy, 100)
    return data.decode().split()


WAYS = {way.__name__: way for way in (again_and_again, never_ending, blocking_dup)}


def drive(command, way):
    with tempfile.TemporaryDirectory(prefix="ftrun-fifo-") as directory:
        path = os.path.join(directory, "pipe")
        os.mkfifo(path)
        command = [argument.replace("RUN_DIR", f"{directory}/run") for argument in command]
        program = subprocess.Popen([*command, sys.executable, os.path.abspath(__file__), way, path],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        first = program.stdout.readline()
        if first == "ready\n":
            for word in WORDS:
                time.sleep(0.2)
                with open(path, "w") as pipe:
                    pipe.write(word + "\n")
        try:
            rest = program.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            program.kill()
            rest = program.communicate()[0] + "(time limit)"
        print(f"{way}: {first}{rest}", end="")
        return first + rest == f"ready\n{' '.join(WORDS)}\n" and program.returncode == 0


def main():
    if len(sys.argv) == 3:
        print("ready", flush=True)
        print(*WAYS[sys.argv[1]](sys.argv[2]))
        return 0
    unit = [f"{os.path.abspath(sys.argv[1])}/ftrun", "--run-dir", "RUN_DIR", "--"]
    good = [drive(command, way) for way in WAYS for command in ([], unit)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
