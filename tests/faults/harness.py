# SPDX-License-Identifier: Apache-2.0
"""Starts servers bare and under ftrun, runs the checker against them, kills processes, cleans up.

Runs in the process of a test (Python 3 standard library only). Every server gets a free port, a
temporary directory as its run directory, and a unique mark in its environment by which leftovers are
found; nothing else is ever signalled.
"""

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MARK = "FTRUN_TEST_MARK"
NOBODY = 65534
# How the replicas of a unit exchange input and log ("tcp"); by default as ftrun does.
TRANSPORT = [f"--transport={os.environ['FTRUN_TEST_TRANSPORT']}"] \
    if "FTRUN_TEST_TRANSPORT" in os.environ else []
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 15


class HarnessError(Exception):
    """The harness could not do its work, or a promise about processes was broken."""


def until(condition, timeout_s, what):
    """Polls `condition` until it returns something true; raises with `what` when it does not."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise HarnessError(f"{what}: not within {timeout_s} s")
        time.sleep(0.005)


def free_port():
    """A free port that no client is given: below the range of ports of outgoing connections.

    Tests run beside each other, some with thousands of clients; a port from that range could be a
    client's before the server binds it.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as limits:
        first = int(limits.read().split()[0])
    while True:
        port = random.randrange(first // 2, first)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def answers(port):
    """Whether a Redis server answers PING on `port`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def accepts(port):
    """Whether anything accepts a connection on `port`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class KillsOfEachProcess:
    """The tests of a case whose `kill(victim)` checks a unit that loses one process; None: none."""

    def test_nobody_dies(self):
        self.kill(None)

    def test_primary_app(self):
        self.kill("primary-app")

    def test_primary_supervisor(self):
        self.kill("primary-supervisor")

    def test_sender_app(self):
        self.kill("sender-app")

    def test_sender_supervisor(self):
        self.kill("sender-supervisor")


def run_tests(module):
    """The unittest cases of a test program. `module` is its globals(): BUILD, and AS_USER where it
    has one, come from the command line. Where it has `serve`, --serve PORT is its server instead."""
    parser = argparse.ArgumentParser(description=module["__doc__"].splitlines()[0])
    parser.add_argument("--build", default=module["BUILD"])
    if "AS_USER" in module:
        parser.add_argument("--as-user", action="store_true", help="run the units unprivileged")
    if "serve" in module:
        parser.add_argument("--serve", type=int, metavar="PORT", help="be the server")
    options, rest = parser.parse_known_args()
    if getattr(options, "serve", None) is not None:
        module["serve"](options.serve)
    module["BUILD"] = os.path.abspath(options.build)
    if "AS_USER" in module:
        module["AS_USER"] = options.as_user
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2, warnings="ignore")


def redis_command(port, *more):
    return ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", *more]


def marked_processes(mark, directory):
    """Pids of live processes with `mark` in their environment, or working in `directory`: servers
    that set their title overwrite their environment."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as environ:
                if (needle in environ.read().split(b"\0") or
                        os.readlink(f"/proc/{name}/cwd") == directory):
                    found.append(int(name))
    return found


def cpu_seconds(pids):
    """User and system time used so far by the processes (all their threads)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class Server:
    """A server process in a temporary directory; `with` starts and stops it."""

    def __init__(self, command, port, as_user=False, ready=None, env=None):
        self.command = command
        self.port = port
        self.as_user = as_user
        self.mark = uuid.uuid4().hex
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="ftrun-test-"))
        self.env = dict(os.environ, **{MARK: self.mark}, **(env or {}))
        self.ready = ready or (lambda: answers(self.port))
        self.process = None
        self.keep = False
        if as_user:
            os.chown(self.directory, NOBODY, NOBODY)

    def identity(self):
        """Popen arguments that drop to an unprivileged user where wanted."""
        return dict(user=NOBODY, group=NOBODY, extra_groups=[]) if self.as_user else {}

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self):
        with open(self.path("output"), "wb") as output:
            self.process = subprocess.Popen(
                self.command, cwd=self.directory, env=self.env, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                **self.identity())
        try:
            until(lambda: self.process.poll() is not None or self.ready(), START_TIMEOUT_S,
                  f"start of {self.command[0]}")
            if self.process.poll() is not None:
                raise HarnessError(f"{self.command[0]} ended with {self.process.returncode}")
        except HarnessError as error:
            output = self.output()
            self.stop()
            raise HarnessError(f"{error}\n{output}") from None
        return self

    def output(self):
        with contextlib.suppress(OSError), open(self.path("output"), errors="replace") as file:
            return file.read()[-4000:]
        return ""

    def pids(self):
        return marked_processes(self.mark, self.directory)

    def stop(self):
        """Ends what is left and returns the pids that had outlived a clean stop."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT_S)
        leftover = []
        try:
            until(lambda: not self.pids(), 3, "end of all processes")
        except HarnessError:
            leftover = self.pids()
            for pid in leftover:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        return leftover

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Bare(Server):
    """A redis-server by itself."""

    def __init__(self, *more, port=None, as_user=False):
        port = port or free_port()
        super().__init__(redis_command(port, *more), port, as_user)


class Unit(Server):
    """A server under ftrun; ready when it answers and its unit is protected."""

    def __init__(self, build, *more, replicas=2, as_user=False, command=None, port=None,
                 options=(), probe=answers):
        self.build = os.path.abspath(build)
        port = port or free_port()
        self.name = f"test-{port}-{os.getpid()}"
        wanted = ("protected",) if replicas > 1 else ("unprotected", "protected")
        super().__init__(
            [os.path.join(self.build, "ftrun"), "--unit", self.name, "--replicas", str(replicas),
             *TRANSPORT, *options, "--", *(command or redis_command(port, *more))],
            port, as_user, ready=lambda: self.protection() in wanted and probe(port))
        self.env["XDG_RUNTIME_DIR"] = self.directory
        os.chmod(self.directory, 0o700)

    def ctl(self, *arguments, timeout=10):
        return subprocess.run(
            [os.path.join(self.build, "ftctl"), "--unit", self.name, *arguments], env=self.env,
            cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout, check=False, **self.identity())

    def status(self):
        """The parsed status, or None while there is none."""
        with contextlib.suppress(ValueError, subprocess.TimeoutExpired):
            return json.loads(self.ctl("status", "--json").stdout)
        return None

    def protection(self):
        status = self.status()
        return status and status.get("protection")

    def victim(self, name, status, random):
        """The pid that `name` means in `status`; names are in VICTIMS."""
        if name == "ftrun":
            return self.process.pid
        live = [r for r in status["replicas"] if r["state"] != "failed"]
        who, what = name.rsplit("-", 1)
        if who == "primary":
            replica = next(r for r in live if r["role"] == "primary")
        elif who == "sender":
            replica = next(r for r in live if r["sender"])
        else:
            replica = random.choice(live)
        pid = replica[{"app": "app_pid", "supervisor": "supervisor_pid",
                       "keeper": "keeper_pid"}[what]]
        if not isinstance(pid, int) or pid <= 1 or pid not in self.pids():
            raise HarnessError(f"{name} of {self.name}: {pid} is no process of this unit")
        return pid

    def stop(self):
        if self.process is not None and self.process.poll() is not None:
            with contextlib.suppress(subprocess.TimeoutExpired, OSError):
                self.ctl("stop")  # ftrun itself was the victim: the unit is still there
        return super().stop()


VICTIMS = ("primary-app", "primary-supervisor", "sender-app", "sender-supervisor", "any-keeper",
           "ftrun")


def kill_now(pid):
    """SIGKILL through a pidfd, and wait until it is gone. Returns the time before the kill (ns)."""
    fd = os.pidfd_open(pid)
    try:
        before = time.monotonic_ns()
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        if not select.select([fd], [], [], 5)[0]:
            raise HarnessError(f"process {pid} did not die of SIGKILL")
        return before
    finally:
        os.close(fd)


class Checker:
    """ftrun-check-clients against a port; result() waits for its report."""

    def __init__(self, build, port, seconds, seed, *options):
        self.process = subprocess.Popen(
            [os.path.join(build, "ftrun-check-clients"), "--port", str(port), "--seconds",
             str(seconds), "--seed", str(seed), *options], stdout=subprocess.PIPE, text=True)
        self.seconds = seconds

    def wait_ready(self):
        """Waits until every connection was answered once (False: it never was)."""
        if not select.select([self.process.stdout], [], [], START_TIMEOUT_S)[0]:
            return False
        line = self.process.stdout.readline()
        self.early = line
        return '"ready"' in line

    def result(self):
        try:
            out, _ = self.process.communicate(timeout=self.seconds + 60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise HarnessError("the checker did not end") from None
        lines = (getattr(self, "early", "") + out).strip().splitlines()
        if not lines or '"end"' not in lines[-1]:
            raise HarnessError(f"the checker ended with {self.process.returncode}, no report")
        return json.loads(lines[-1])


def conclude(unit, result):
    """Stops the unit and completes the result of a run; keeps the directory of one with errors."""
    if result["errors"]:
        unit.keep = True
        result["kept"] = unit.directory
        result["output"] = unit.output()
    leftover = unit.stop()
    if leftover:
        result["errors"].append(f"{len(leftover)} processes outlived the stop")
    return result


def troubles(report):
    """What a checker's report complains about, as short lines."""
    lines = []
    for name in ("connection_errors", "wrong_replies", "final_state_errors"):
        lines += [f"{name}: {text}" for text in report[name][:5]]
    return lines
