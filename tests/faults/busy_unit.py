#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A unit that is slow for good reasons loses no replica: a request that computes for two seconds, a
machine full of other work, a process that gets no CPU for longer than the time-out; under the
exactly-once checker. On the full machine, a replica that does hang is still found. Exit status 1 when
anything failed. Only as root, and with two CPUs, a process can be kept from its CPU for certain:
elsewhere that case says that it was left out.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import harness
import hang_replica
import kill_replica

SCRIPT_S = 2
SCRIPT = "local x = 0 for i = 1, {} do x = x + i % 7 end return 1"
SCRIPT_ANSWER_S = 60
FIND_HANG_S = 10  # starved judges may take several time-outs
# Owns its CPU for 400 ms at a time, well beyond the time-out, and leaves 100 ms to others.
HOG = """
import os, time
os.sched_setaffinity(0, {%d})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
print("ready", flush=True)
while True:
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        pass
    time.sleep(0.1)
"""


def evaluate(port, turns):
    """Runs the script; returns how long it took."""
    script = SCRIPT.format(turns)
    with socket.create_connection(("127.0.0.1", port), timeout=SCRIPT_ANSWER_S) as client:
        began = time.monotonic()
        client.sendall(f"*3\r\n$4\r\nEVAL\r\n${len(script)}\r\n{script}\r\n$1\r\n0\r\n".encode())
        answer = client.recv(64)
        if answer != b":1\r\n":
            raise harness.HarnessError(f"the script was answered {answer!r}")
        return time.monotonic() - began


def turns_for(seconds):
    """How many turns of the script's loop a bare server does in `seconds`."""
    with harness.Bare() as bare:
        evaluate(bare.port, 1000)
        probe = 5_000_000
        return int(probe * seconds / evaluate(bare.port, probe))


def expect_whole(unit, before):
    if unit.protection() != "protected":
        raise harness.HarnessError(f"the unit is {unit.protection()}")
    if hang_replica.processes_of(unit, unit.status()) != before:
        raise harness.HarnessError("a replica was lost")


def expect_fine(report):
    lines = harness.troubles(report)
    if lines:
        raise harness.HarnessError("; ".join(lines))
    print(f"  {report['replies']} replies, longest silence "
          f"{report['longest_silence_us'] / 1000:.0f} ms")


def long_script(unit, options):
    """A script that takes two seconds of CPU, in both replicas, while other clients wait."""
    before = hang_replica.processes_of(unit, unit.status())
    turns = turns_for(SCRIPT_S)

    def run_script():
        print(f"  the script took {evaluate(unit.port, turns):.1f} s")
        return time.monotonic_ns()

    expect_fine(kill_replica.one_run(options.build, unit.port, options, options.seed, run_script))
    expect_whole(unit, before)


@contextlib.contextmanager
def other_work(count):
    """Processes at normal priority that never stop computing."""
    # Sessions of their own: where the kernel groups by session, the loops are not one group.
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
             for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def full_machine(unit, options):
    """The unit under load beside endless loops; then one supervisor is really stopped."""
    before = hang_replica.processes_of(unit, unit.status())
    with other_work(options.loops):
        expect_fine(kill_replica.one_run(options.build, unit.port, options, options.seed))
        expect_whole(unit, before)
        pid = unit.victim("sender-supervisor", unit.status(), None)
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        harness.until(lambda: harness.answers(unit.port), FIND_HANG_S, "takeover on a full machine")
        print(f"  a stopped supervisor was replaced within {time.monotonic() - began:.2f} s")


def starved(unit, options):
    """A supervisor, then an application, that waits for its CPU for longer than the time-out."""
    cpus = os.sched_getaffinity(0)
    before = hang_replica.processes_of(unit, unit.status())
    hog = subprocess.Popen([sys.executable, "-c", HOG % max(cpus)], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL)
    try:
        if len(cpus) < 2 or hog.stdout.readline() != b"ready\n":
            print("  left out: needs two CPUs and the right to set real-time priority")
            return
        for victim in ("sender-supervisor", "primary-app"):
            pid = unit.victim(victim, unit.status(), None)
            os.sched_setaffinity(pid, {max(cpus)})
            report = kill_replica.one_run(options.build, unit.port, options, options.seed)
            os.sched_setaffinity(pid, cpus)
            expect_fine(report)
            expect_whole(unit, before)
    finally:
        hog.kill()
        hog.communicate()


CASES = {"script": long_script, "full-machine": full_machine, "starved": starved}


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"))
    parser.add_argument("--case", action="append", choices=CASES, help="default: each in turn")
    parser.add_argument("--seconds", type=float, default=5, help="of load")
    parser.add_argument("--loops", type=int, default=8, help="processes of other work")
    parser.add_argument("--rate", type=float, default=5000, help="requests/s (0: no limit)")
    parser.add_argument("--connections", type=int, default=24)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.set_defaults(background_load=False, extra_load="none")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    options.build = os.path.abspath(options.build)
    print(f"seed {options.seed}")
    failed = False
    for case in options.case or CASES:
        print(case)
        unit = harness.Unit(options.build)
        try:
            with unit:
                CASES[case](unit, options)
        except harness.HarnessError as error:
            failed = True
            print(f"FAILED {case}: {error}")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
