#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills replicas of units of three and five under the exactly-once checker, until one is left.

One after another, any process of any replica; or, where the unit tolerates two, two replicas at the
same moment. Expected in every topology and at every step: no connection error, every request applied
and answered exactly once, and no process left behind. Prints the longest silence that a client saw
after a kill; exit status 1 when anything failed.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import time

import harness

TOPOLOGIES = {
    "chain": ["--topology=chain"],
    "fanout": ["--topology=fanout"],
    "designated": ["--topology=fanout", "--promote=designated"],
    "lag": ["--topology=fanout", "--sender-lag=on"],
}
PROCESSES = ("app_pid", "supervisor_pid")
SETTLE_TIMEOUT_S = 20


def settled(unit, replicas):
    """The status of a unit that has come to a view of so many replicas, all of which serve."""
    status = unit.status()
    if not status or not status.get("settled"):
        return None
    live = [r for r in status["replicas"] if r["state"] != "failed"]
    return status if len(live) == replicas else None


def choose(unit, status, count, chance):
    """Pids to kill: one process of each of `count` replicas."""
    live = [r for r in status["replicas"] if r["state"] != "failed"]
    victims = chance.sample(live, count)
    pids = [r[chance.choice(PROCESSES)] for r in victims]
    if any(pid not in unit.pids() for pid in pids):
        raise harness.HarnessError(f"{pids} are not all processes of {unit.name}")
    role = {r["id"]: r["role"] + (" and sender" if r["sender"] else "") for r in victims}
    return pids, ", ".join(f"{name} ({role[name]})" for name in sorted(role))


def kill_together(pids):
    """SIGKILL to all; returns the time before it (ns)."""
    fds = [os.pidfd_open(pid) for pid in pids]
    try:
        before = time.monotonic_ns()
        for fd in fds:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        return before
    finally:
        for fd in fds:
            os.close(fd)


def silence_after_ms(report, killed_at):
    return max((us / 1000 for start_ns, us in report["silence_peaks"]
                if killed_at - 50_000_000 < start_ns < killed_at + 1_000_000_000), default=0)


def kill_all_but_one(unit, replicas, at_once, chance):
    """Kills `at_once` replicas at a time. Returns (time, who) for each."""
    kills = []
    left = replicas
    while left > 1:
        now = harness.until(lambda: settled(unit, left), SETTLE_TIMEOUT_S, f"view of {left}")
        time.sleep(chance.uniform(0, 0.4))
        count = min(at_once, left - 1)
        pids, who = choose(unit, now, count, chance)
        kills.append((kill_together(pids), who))
        left -= count
    harness.until(lambda: settled(unit, left), SETTLE_TIMEOUT_S, "view of one")
    return kills


def run(options, topology, replicas, at_once, seed):
    """One unit. Returns a result dictionary."""
    chance = random.Random(seed)
    result = {"case": f"{topology}, {replicas}, {at_once} at once", "seed": seed, "errors": [],
              "silences": []}
    unit = harness.Unit(options.build, replicas=replicas, options=[
        *TOPOLOGIES[topology], f"--tolerance={at_once}", *options.option])
    try:
        unit.start()
        checker = harness.Checker(options.build, unit.port, options.seconds, seed, "--rate",
                                  str(options.rate), "--connections", str(options.connections))
        kills = []
        try:
            if checker.wait_ready():
                kills = kill_all_but_one(unit, replicas, at_once, chance)
        finally:
            report = checker.result()
        result["errors"] += harness.troubles(report)
        result["replies"] = report["replies"]
        result["silences"] = [(round(silence_after_ms(report, at), 1), who) for at, who in kills]
        if not kills:
            result["errors"].append("nothing was killed: the checker did not get under way")
    except harness.HarnessError as error:
        result["errors"].append(str(error))
        with contextlib.suppress(OSError):
            result["errors"].append(json.dumps(unit.status()))
    return harness.conclude(unit, result)


def add_options(parser):
    """What every test of members can be told; options.build is absolute once it is parsed."""
    parser.add_argument("--build", type=os.path.abspath, default=os.path.join(harness.ROOT, "build"))
    parser.add_argument("--topology", action="append", choices=TOPOLOGIES)
    parser.add_argument("--option", action="append", default=[], help="of ftrun, for every unit")
    parser.add_argument("--seconds", type=float, help="of each run")
    parser.add_argument("--rate", type=float, default=4000, help="requests/s (0: no limit)")
    parser.add_argument("--connections", type=int, default=24)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))


def say(result):
    """Prints what a run came to; whether anything failed."""
    longest = max((ms for ms, _ in result["silences"]), default=0)
    print(f"{result['case']:26} {result.get('replies', 0):8} replies, longest silence "
          f"{longest:6.1f} ms: {result['silences']}", flush=True)
    for line in result["errors"]:
        print(f"FAILED {result['case']} (seed {result['seed']}): {line}")
    if result.get("kept"):
        print(f"  evidence: {result['kept']}\n{result['output']}")
    return bool(result["errors"])


def conclude(options, results):
    """Says each result as it comes. Returns the exit status."""
    print(f"seed {options.seed}")
    failed = sum(say(result) for result in results)
    print(f"{failed} failed")
    return 1 if failed else 0


def runs(options):
    cases = itertools.product(options.topology or TOPOLOGIES, options.replicas or (3, 5), (1, 2))
    for number, case in enumerate(cases):
        for repetition in range(options.repetitions):
            yield run(options, *case, options.seed + 1000 * number + repetition)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.set_defaults(seconds=5)
    parser.add_argument("--replicas", action="append", type=int)
    parser.add_argument("--repetitions", type=int, default=1, help="of each case")
    options = parser.parse_args(arguments)
    return conclude(options, runs(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
