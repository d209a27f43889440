#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The world around a unit is full, gone, stopped or hostile; its clients must not notice.

One case a run (--case). Prints what was wrong; exit status 1 then, 77 where the case cannot run here.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import harness

SECRET = "kept-out-of-ps"
SILENCE_S = 3


class Failure(Exception):
    """A promise was broken."""


class Skip(Exception):
    """The case cannot run here."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def ping(client, what):
    client.settimeout(SILENCE_S)
    client.sendall(b"PING\r\n")
    check(client.recv(7) == b"+PONG\r\n", f"{what}: no answer")


def connect(unit):
    return socket.create_connection(("127.0.0.1", unit.port), SILENCE_S)


def replicas(unit):
    return unit.status()["replicas"]


def sender(unit):
    return next(r for r in replicas(unit) if r["sender"])


def events(unit):
    with open(unit.path(f"ftrun/{unit.name}/events.jsonl")) as file:
        return [json.loads(line) for line in file if line.strip()]


def fill(directory):
    """Leaves no byte in the file system of `directory`."""
    with contextlib.suppress(OSError), open(os.path.join(directory, "filler"), "wb", 0) as file:
        while True:
            file.write(bytes(4096))


@contextlib.contextmanager
def small_directory(unit):
    """The unit's run directory on a small file system of its own."""
    if os.geteuid() != 0:
        raise Skip("needs root, to mount a file system")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs",
                           unit.directory], capture_output=True, text=True)
    if made.returncode != 0:
        raise Skip(made.stderr)
    try:
        yield
    finally:
        unit.stop()
        subprocess.run(["umount", "-l", unit.directory], check=False)


def survives_a_kill(unit, break_it, mend=None):
    """A sender's supervisor is killed while the run directory is of no use."""
    with unit, connect(unit) as client:
        ping(client, "before")
        victim = sender(unit)
        other = next(r for r in replicas(unit) if r["id"] != victim["id"])
        break_it()
        harness.kill_now(victim["supervisor_pid"])
        ping(client, "an old connection after the kill")
        with connect(unit) as late:
            ping(late, "a new connection after the kill")
        check("UNPROTECTED" in unit.output() or
              harness.until(lambda: "UNPROTECTED" in unit.output(), 3, "the warning"), "silent")
        if mend is not None:
            mend()
            harness.until(lambda: (unit.status() or {}).get("epoch") == 2, 5, "the view in status")
            harness.until(lambda: any(e["kind"] == "takeover" for e in events(unit)), 5,
                          "the event of the takeover")
        unit.process.send_signal(signal.SIGTERM)
        unit.process.wait(harness.STOP_TIMEOUT_S)
        check(unit.process.returncode == 0, f"SIGTERM: exit status {unit.process.returncode}")
        harness.until(lambda: not os.path.exists(f"/proc/{other['supervisor_pid']}"), 3, "the end")


def case_full(unit):
    with small_directory(unit):
        survives_a_kill(unit, lambda: fill(unit.directory))


def case_full_then_room(unit):
    with small_directory(unit):
        survives_a_kill(unit, lambda: fill(unit.directory),
                        lambda: os.unlink(unit.path("filler")))


def case_removed(unit):
    survives_a_kill(unit, lambda: shutil.rmtree(unit.path(f"ftrun/{unit.name}")), lambda: None)


def case_all_removed(unit):
    survives_a_kill(unit, lambda: shutil.rmtree(unit.path("ftrun")), lambda: None)


def case_read_only(unit):
    if os.geteuid() == 0 and not unit.as_user:
        raise Skip("root writes anyway")
    directory = unit.path(f"ftrun/{unit.name}")
    survives_a_kill(unit, lambda: os.chmod(directory, 0o500), lambda: os.chmod(directory, 0o700))


def case_cut_off(unit):
    """Somebody cuts every file of the run directory off: nobody has mapped one, and what the tools
    need is written again. The console is complete, for whoever asks then, and after the end."""
    unit.command += ["--loglevel", "verbose"]
    unit.start()
    directory = unit.path(f"ftrun/{unit.name}")

    def cut():
        for name in os.listdir(directory):
            if os.path.isfile(os.path.join(directory, name)):
                os.truncate(os.path.join(directory, name), 0)
        harness.until(lambda: unit.status() is not None, 3, "a status after the cut")

    with connect(unit) as client:
        ping(client, "before")
        victim = sender(unit)
        logs = unit.ctl("logs")
        check("Accepted" in logs.stdout, f"ftctl logs: {logs}")
        cut()
        for _ in range(3):
            with connect(unit) as late:
                ping(late, "a client whose coming stands on the console")
        logs = unit.ctl("logs")
        check(logs.stdout.count("Accepted") >= 4, f"ftctl logs after the cut: {logs}")
        check(unit.protection() == "protected", f"status: {unit.status()}")
        harness.kill_now(victim["supervisor_pid"])
        ping(client, "after the kill")
        cut()
        with connect(unit) as late:
            ping(late, "a new client after the kill")
        check(unit.ctl("logs").stdout.count("Accepted") >= 5, "ftctl logs after the kill")
    unit.process.send_signal(signal.SIGTERM)
    unit.process.wait(harness.STOP_TIMEOUT_S)
    check(unit.process.returncode == 0, f"SIGTERM: exit status {unit.process.returncode}")
    logs = unit.ctl("logs")
    check("bye bye" in logs.stdout and logs.stdout.count("Accepted") >= 5,
          f"ftctl logs after the end: {logs}")


def case_all_supervisors_killed(unit):
    """What the program wrote is left by ftrun then."""
    with unit, connect(unit) as client:
        ping(client, "before")
        for replica in replicas(unit):
            os.kill(replica["supervisor_pid"], signal.SIGKILL)
        unit.process.wait(harness.STOP_TIMEOUT_S)
        logs = unit.ctl("logs")
        check("Ready to accept connections" in logs.stdout, f"ftctl logs: {logs}")


def case_replaced(unit):
    """Another unit's directory in its place is left alone."""
    directory = unit.path(f"ftrun/{unit.name}")
    with unit, connect(unit) as client:
        ping(client, "before")
        os.rename(directory, directory + ".old")
        os.mkdir(directory, 0o700)
        other = '{"unit":"other","replicas":2,"program":"x","ftrun":1}\n'
        with open(directory + "/unit.json", "w") as file:
            file.write(other)
        harness.until(lambda: "was removed" in unit.output(), 5, "the warning")
        time.sleep(1.5)
        check(os.listdir(directory) == ["unit.json"], f"written to: {os.listdir(directory)}")
        ping(client, "after")
        unit.process.send_signal(signal.SIGTERM)
        unit.process.wait(harness.STOP_TIMEOUT_S)
        check(unit.process.returncode == 0, f"SIGTERM: exit status {unit.process.returncode}")


def case_signal_to_all(unit, number=signal.SIGTERM, with_ftrun=True):
    """What a service manager does to stop a service."""
    with unit, connect(unit) as client:
        ping(client, "before")
        pids = unit.pids()
        check(len(pids) >= 9, f"{len(pids)} processes, not ftrun and four a replica")
        for pid in pids:
            if with_ftrun or pid != unit.process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        harness.until(lambda: not [pid for pid in unit.pids() if pid != unit.process.pid], 10,
                      "the end of all processes")
        unit.process.wait(5)
        check(unit.process.returncode == 0, f"exit status {unit.process.returncode}, not redis's")
        kinds = [e["kind"] for e in events(unit)]
        check("exited" in kinds and not {"lost", "app_failed", "suspect"} & set(kinds),
              f"not a clean stop: {kinds}")
        told = unit.output().count("Received SIGTERM") + unit.output().count("Received SIGINT")
        check(told == 1, f"the program got the signal {told} times:\n{unit.output()}")


def case_interrupt_to_all(unit):
    case_signal_to_all(unit, signal.SIGINT)


def case_signal_without_ftrun(unit):
    """The same when ftrun is gone, or is not told."""
    case_signal_to_all(unit, signal.SIGTERM, with_ftrun=False)


def can_bind(port):
    with contextlib.suppress(OSError), socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
        return True
    return False


def case_lost(unit):
    """Nobody is left: port and clients are let go at once."""
    with unit, connect(unit) as client:
        ping(client, "before")
        victims = [r["supervisor_pid"] for r in replicas(unit)] + [unit.process.pid]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        client.settimeout(2)
        with contextlib.suppress(ConnectionResetError):
            check(client.recv(1) == b"", "the client hears nothing")
        # One process lets go of both, but the kernel closes one socket after the other.
        harness.until(lambda: can_bind(unit.port), 1, "the end of the listener")
        harness.until(lambda: not unit.pids(), 3, "the end of all processes")


def in_its_mounts(unit, *command):
    """Runs a command where the unit's processes see it, in mounts of their own."""
    subprocess.run(["nsenter", "-t", str(unit.process.pid), "-m", "--", *command], check=True,
                   capture_output=True)


def with_own_mounts(unit, first="true"):
    """The unit will be started in a mount namespace of its own, after a command in it."""
    if os.geteuid() != 0:
        raise Skip("needs root, to change mounts")
    drop = []
    if unit.as_user:
        drop = ["setpriv", f"--reuid={harness.NOBODY}", f"--regid={harness.NOBODY}",
                "--clear-groups", "--"]
        unit.identity = lambda: {}
    unit.command = ["unshare", "-m", "--", "sh", "-c", first + '; exec "$@"', "sh", *drop,
                    *unit.command]


def case_no_proc(unit):
    """/proc goes while the unit runs: a takeover does without."""
    with_own_mounts(unit)
    with unit, connect(unit) as client:
        ping(client, "before")
        victim = sender(unit)
        in_its_mounts(unit, "umount", "-l", "/proc")
        harness.kill_now(victim["supervisor_pid"])
        ping(client, "after the kill")
        with connect(unit) as late:
            ping(late, "a new client after the kill")


def case_hidden_proc(unit):
    """/proc shows each user its own processes only (hidepid=2)."""
    with_own_mounts(unit, "mount -t proc -o hidepid=2 proc /proc")
    with unit, connect(unit) as client:
        ping(client, "before")
        victim = sender(unit)
        harness.kill_now(victim["supervisor_pid"])
        ping(client, "after the kill")
        check("Ready to accept" in unit.ctl("logs").stdout, "ftctl logs")


def survives_limits(unit, limits, clients=1):
    """The survivor's supervisor has reached a limit when the sender's dies."""
    with unit, contextlib.ExitStack() as stack:
        connected = [stack.enter_context(connect(unit)) for _ in range(clients)]
        for client in connected:
            ping(client, "before")
        victim = sender(unit)
        survivor = next(r for r in replicas(unit) if r["id"] != victim["id"])["supervisor_pid"]
        subprocess.run(["prlimit", "--pid", str(survivor), *limits(survivor)], check=True,
                       **unit.identity())
        harness.kill_now(victim["supervisor_pid"])
        for client in connected:
            ping(client, "after the kill")
        with connect(unit) as late:
            ping(late, "a new client after the kill")


def case_no_processes(unit):
    """No process can be made any more: a takeover needs none."""
    if not unit.as_user:
        raise Skip("root has no limit of processes")
    survives_limits(unit, lambda _: ["--nproc=1:1"])


def address_space(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def case_no_memory(unit):
    """Nor does it need more memory than what there is."""
    survives_limits(unit, lambda pid: [f"--as={address_space(pid)}"], clients=100)


def case_limits(unit):
    """A start that a limit forbids says which one it is; a soft one is the program's alone."""
    if not unit.as_user:
        raise Skip("root has no limit of processes")

    def start(*limits):
        ftrun = unit.command[:unit.command.index("--") + 1]
        return subprocess.run(["prlimit", *limits, "--", *ftrun, "sh", "-c", "ulimit -f"],
                              env=unit.env, cwd=unit.directory, capture_output=True, text=True,
                              timeout=30, **unit.identity())

    for limit, named in (("--fsize=1000:1000", "ulimit -f"), ("--fsize=9999999:9999999", "ulimit -f"),
                         ("--nproc=1:1", "ulimit -u"), ("--as=50000000:50000000", "ulimit -v")):
        run = start(limit)
        check(run.returncode in (125, 126) and named in run.stderr,
              f"{limit}: exit status {run.returncode}, {run.stderr}")
        harness.until(lambda: not unit.pids(), 3, "the end of what was started")
    run = start("--fsize=1024:unlimited")
    check((run.returncode, run.stdout) == (0, "2\n"), f"a soft limit: {run}")


def case_ps(unit):
    """Arguments and environment of the program stand nowhere but in its own process."""
    unit.command += ["--requirepass", SECRET]
    unit.env["UNIT_PASSWORD"] = SECRET
    unit.ready = lambda: unit.protection() == "protected" and harness.accepts(unit.port)
    with unit:
        apps = {r["app_pid"] for r in replicas(unit)}
        others = [pid for pid in unit.pids() if pid not in apps]
        check(len(others) >= 7, f"{len(others)} processes besides the programs")
        for pid in others:
            for what in ("cmdline", "environ"):
                with open(f"/proc/{pid}/{what}", "rb") as file:
                    check(SECRET.encode() not in file.read(), f"{what} of process {pid}")


def case_no_door(unit):
    """Only the program listens; nothing of the unit can be connected to by others."""
    with unit:
        inodes = set()
        for replica in replicas(unit):
            pid = replica["supervisor_pid"]
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(f"/proc/{pid}/fd/{name}")
                    inodes.add(target.removeprefix("socket:[").rstrip("]"))
        for family in ("tcp", "tcp6"):
            with open(f"/proc/net/{family}") as table:
                for line in list(table)[1:]:
                    fields = line.split()
                    port = int(fields[1].rsplit(":", 1)[1], 16)
                    if fields[3] == "0A" and fields[9] in inodes:
                        check(port == unit.port, f"a supervisor listens on port {port}")
        check(not [name for name in os.listdir(unit.path(f"ftrun/{unit.name}"))
                   if name.startswith(("link.", "secret"))], "a secret or port in a file")


def case_descriptors(unit):
    """Clients up to the limit of open files: the supervisor keeps what it needs itself."""
    limit = 300
    unit.command = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *unit.command]
    unit.start()
    clients = []
    try:
        victim = sender(unit)
        for _ in range(limit):
            clients.append(connect(unit))
        harness.until(lambda: any("new connections wait" in e["text"] for e in events(unit)), 3,
                      "the event")
        check(unit.protection() == "protected", f"status: {unit.protection()}")
        served = []
        for client in clients:
            client.settimeout(0.05)
            with contextlib.suppress(socket.timeout):
                client.sendall(b"PING\r\n")
                check(client.recv(7) == b"+PONG\r\n", "a wrong answer")
                served.append(client)
        check(len(served) > 100, f"{len(served)} served")
        harness.kill_now(victim["keeper_pid"])
        harness.until(lambda: sender(unit)["keeper_pid"] != victim["keeper_pid"], 3,
                      "another keeper")
        harness.kill_now(victim["supervisor_pid"])
        for client in served:
            ping(client, "a client after the kill")
        waiting = clients[-1]
        check(waiting not in served, "all were served")
        for client in served:
            client.close()
        waiting.settimeout(5)
        check(waiting.recv(7) == b"+PONG\r\n", "whoever waited is not served when there is room")
    finally:
        for client in clients:
            client.close()
        unit.stop()


CASES = {name.removeprefix("case_").replace("_", "-"): function
         for name, function in list(globals().items()) if name.startswith("case_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--case", required=True, choices=CASES)
    parser.add_argument("--as-user", action="store_true")
    options = parser.parse_args()
    if options.as_user and os.geteuid() != 0:
        options.as_user = False
    unit = harness.Unit(options.build, as_user=options.as_user)
    unit.keep = True  # what it leaves, if it fails
    status = 0
    try:
        CASES[options.case](unit)
        print("ok")
    except Skip as why:
        print(f"skipped: {why}")
        status = 77
    except (Failure, harness.HarnessError, OSError) as why:
        print(f"{options.case}: {why}\n{unit.output()}\nkept: {unit.directory}")
        status = 1
    unit.keep = status == 1
    unit.stop()
    return status


if __name__ == "__main__":
    sys.exit(main())
