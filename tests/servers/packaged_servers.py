#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unmodified servers from Debian's packages, bare and under ftrun: every answer is checked, through kills.

Eight clients ask all the time and check each answer, counters exactly once. Bare; then with two replicas: the unit stays protected;
then, in fresh units, through the death of the primary's application and of the sender's supervisor: no connection breaks, no request
is lost or carried out twice, and the survivor's end is a clean one. A server that is not installed is skipped, loudly (exit status
77). Python 3 standard library only.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../faults"))
import harness  # noqa: E402
import packaged_clients as clients  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77
CLIENTS = 8
VICTIMS = ("primary-app", "sender-supervisor")
ANSWERS = 20  # of each client, before the kill and after it
PHASE_S = 60


class Packaged:
    """How one server is run: `command` may write files into `place` and keeps its data in `place`/state."""

    client = clients.CountingHttp
    needs_state = False

    def __init__(self, place, port):
        self.place, self.port, self.state = place, port, os.path.join(place, "state")
        os.mkdir(self.state)

    def write(self, name, text):
        path = os.path.join(self.place, name)
        with open(path, "wb" if isinstance(text, bytes) else "w") as file:
            file.write(text)
        return path

    def write_files(self):
        """What clients.Files asks for; returns the directory."""
        self.write("file", clients.FILE)
        for i in range(5):
            self.write(f"small{i}", f"small file {i}\n")
        return self.place

    def fill(self):
        """Called once when the server answers, before the clients come."""


class Redis(Packaged):
    program, client = "redis-server", clients.Redis

    def command(self):
        return harness.redis_command(self.port)


class Memcached(Packaged):
    program, client = "memcached", clients.Memcached

    def command(self):
        return ["memcached", "-t", "4", "-p", str(self.port), "-U", "0", "-l", "127.0.0.1", "-u", "root"]


class Nginx(Packaged):
    program, client, needs_state = "nginx", clients.CountedFiles, True

    def command(self):
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = " ".join(f"{kind}_temp_path {self.state}/{kind};" for kind in kinds)
        configuration = self.write("nginx.conf", f"""
            daemon off; master_process off; pid {self.state}/pid; error_log stderr warn; events {{ }}
            http {{ access_log {self.state}/log; sendfile on; keepalive_requests 1000000; {paths}
                   server {{ listen 127.0.0.1:{self.port}; root {self.write_files()};
                            location = /count {{ return 200 $connection_requests; }} }} }}""")
        return ["nginx", "-p", self.state, "-e", "stderr", "-c", configuration]


class Slapd(Packaged):
    program, client, needs_state = "slapd", clients.Ldap, True

    def command(self):
        configuration = self.write("slapd.conf", f"""
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {self.state}/pid
database mdb
suffix o=test
rootdn cn=admin,o=test
rootpw secret
maxsize 67108864
directory {self.state}
""")
        return ["slapd", "-f", configuration, "-h", f"ldap://127.0.0.1:{self.port}", "-d", "0"]

    def fill(self):
        client = clients.Ldap(self.port, 0)
        client.add("o=test", client.attribute("objectClass", "organization"), client.attribute("o", "test"))
        client.close()


class Haproxy(Packaged):
    """Its own answers: no server behind it, and no resolver (which would be UDP)."""

    program, client = "haproxy", clients.OneCounter

    def command(self):
        configuration = self.write("haproxy.cfg", f"""
global
  nbthread 2
resolvers default
defaults
  mode http
  timeout client 60s
  timeout http-keep-alive 60s
backend counters
  stick-table type string len 8 size 10 store gpc0
frontend front
  bind 127.0.0.1:{self.port}
  http-request track-sc0 str(all) table counters
  http-request set-var(req.count) sc_inc_gpc0(0)
  http-request return status 200 content-type text/plain lf-string %[var(req.count)]
""")
        return ["haproxy", "-db", "-f", configuration]


class Mosquitto(Packaged):
    program, client, needs_state = "mosquitto", clients.Mqtt, True

    def command(self):
        return ["mosquitto", "-c", self.write("mosquitto.conf", f"""
listener {self.port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {self.state}/
user root
""")]


class Lighttpd(Packaged):
    program, client = "lighttpd", clients.Files

    def command(self):
        return ["lighttpd", "-D", "-f", self.write("lighttpd.conf", f"""
server.document-root = "{self.write_files()}"
server.port = {self.port}
server.bind = "127.0.0.1"
server.max-keep-alive-requests = 60000
""")]


class Beanstalkd(Packaged):
    program, client, needs_state = "beanstalkd", clients.Beanstalk, True

    def command(self):
        return ["beanstalkd", "-l", "127.0.0.1", "-p", str(self.port), "-b", self.state]


class Python(Packaged):
    program = "/usr/bin/python3"

    def command(self):
        return ["/usr/bin/python3", os.path.join(HERE, "packaged/counter.py"), str(self.port)]


class Node(Packaged):
    program = "node"

    def command(self):
        return ["node", os.path.join(HERE, "packaged/counter.js"), str(self.port)]


class Java(Packaged):
    program = "javac"

    def command(self):
        subprocess.run(["javac", "-d", self.place, os.path.join(HERE, "packaged/Counter.java")], check=True)
        return ["java", "-Xmx64m", "-cp", self.place, "Counter", str(self.port)]


class Ruby(Packaged):
    program = "ruby"

    def command(self):
        return ["ruby", os.path.join(HERE, "packaged/counter.rb"), str(self.port)]


SERVERS = {one.__name__.lower(): one for one in Packaged.__subclasses__()}


class Asking(threading.Thread):
    """One client that asks until it is told to stop; `problem` says what went wrong."""

    def __init__(self, kind, port, number):
        super().__init__(daemon=True)
        self.client = kind(port, number)
        self.problem, self.ending, self.longest_s = None, False, 0.0

    def run(self):
        try:
            while not self.ending:
                before = time.monotonic()
                self.client.request()
                self.longest_s = max(self.longest_s, time.monotonic() - before)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is this client's result)
            self.problem = f"client {self.client.number}, request {self.client.done + 1}: {type(error).__name__}: {error}"


def wait_for_answers(threads):
    """Until each client has had ANSWERS more, or one has a problem."""
    wanted = [thread.client.done + ANSWERS for thread in threads]
    harness.until(lambda: any(thread.problem for thread in threads) or
                  all(thread.client.done >= count for thread, count in zip(threads, wanted)), PHASE_S, "answers")


def ask_through(kind, port, act):
    """Lets the clients ask, calls `act` in the middle; returns what went wrong and what to print."""
    threads = [Asking(kind, port, number) for number in range(1, CLIENTS + 1)]
    for thread in threads:
        thread.start()
    problems = []
    try:
        wait_for_answers(threads)
        act()
        wait_for_answers(threads)
    except harness.HarnessError as error:
        problems.append(str(error))
    for thread in threads:
        thread.ending = True
    for thread in threads:
        thread.join(clients.TIMEOUT_S + 5)
    problems += [thread.problem or "a client hangs" for thread in threads if thread.problem or thread.is_alive()]
    if not problems and hasattr(kind, "check"):
        try:
            kind.check([thread.client for thread in threads])
        except AssertionError as error:
            problems.append(str(error))
    for thread in threads:
        thread.client.close()
    done, longest_s = sum(thread.client.done for thread in threads), max(thread.longest_s for thread in threads)
    return problems, f"{done} answers, longest wait {1000 * longest_s:.0f} ms"


def run_bare(packaged, server):
    return ask_through(packaged.client, server.port, lambda: None)


def run_unit(packaged, unit, victim):
    """Through the death of `victim` (None: nobody dies)."""
    def kill():
        if victim:
            harness.kill_now(unit.victim(victim, unit.status(), random))
            harness.until(lambda: unit.protection() == "unprotected", 10, "the failover")

    problems, text = ask_through(packaged.client, unit.port, kill)
    wanted = "unprotected" if victim else "protected"
    if unit.protection() != wanted:
        problems.append(f"the unit is {unit.protection()}, not {wanted}")
    events = unit.ctl("events").stdout
    if '"diverged"' in events or '"invalid_log"' in events:
        problems.append("the replicas diverged")
    if problems:
        problems.append(events[-3000:])
    return problems, text


def one_run(kind, build, how):
    """Starts the server as `how` says, lets the clients ask, stops it. Returns the number of problems (printed)."""
    place = os.path.realpath(tempfile.mkdtemp(prefix="ftrun-packaged-"))
    try:
        packaged = kind(place, harness.free_port())
        command = packaged.command()
        if how == "bare":
            server = harness.Server(command, packaged.port, ready=lambda: harness.accepts(packaged.port))
        else:
            server = harness.Unit(build, command=command, port=packaged.port, probe=harness.accepts,
                                  options=("--state-dir", packaged.state) if packaged.needs_state else ())
        server.start()
        try:
            packaged.fill()
            problems, text = run_bare(packaged, server) if how == "bare" else \
                run_unit(packaged, server, how if how in VICTIMS else None)
            if server.process.poll() is not None:
                problems.append(f"it ended with {server.process.returncode}")
            output = server.output() if problems else ""
        finally:
            leftover = server.stop()
        if leftover:
            problems.append(f"{len(leftover)} processes outlived the stop")
        print(f"{kind.__name__}, {how}: {text}", *problems, output, sep="\n  " if problems else "", flush=True)
        return len(problems)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"))
    parser.add_argument("--server", required=True, choices=SERVERS)
    parser.add_argument("--how", action="append", choices=["bare", "protected", *VICTIMS])
    arguments = parser.parse_args()
    kind = SERVERS[arguments.server]
    harness.START_TIMEOUT_S = 60  # Java needs seconds, on a busy machine more
    os.environ["PATH"] += ":/usr/sbin"
    if shutil.which(kind.program) is None:
        print(f"SKIPPED: {kind.program} is not installed (scripts/install-dependencies does it)")
        return SKIPPED
    hows = arguments.how or ["bare", "protected", *VICTIMS]
    return 1 if sum(one_run(kind, arguments.build, how) for how in hows) else 0


if __name__ == "__main__":
    sys.exit(main())
