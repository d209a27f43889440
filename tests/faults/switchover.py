#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hands roles of a unit over again and again under the exactly-once checker, then kills who has them.

Expected: every hand-over succeeds, no connection error, every request applied and answered exactly
once, and afterwards the unit bears deaths as ever. Prints the longest silence that a client saw after
a hand-over; exit status 1 when anything failed.
"""

import argparse
import random
import sys
import time

import harness
import kill_members


def hand_over(unit, role, chance):
    """Hands `role` to somebody who may have it. Returns (time, text, whether it succeeded)."""
    status = harness.until(lambda: kill_members.settled(unit, 3), kill_members.SETTLE_TIMEOUT_S,
                           "a settled view")
    able = [r["id"] for r in status["replicas"]
            if r["role"] != "primary" and not (role == "sender" and r["sender"])]
    to = chance.choice(able)
    at = time.monotonic_ns()
    done = unit.ctl("switchover", role, to, timeout=20)
    return at, f"{role} to {to}", done


def run(options, topology, seed):
    chance = random.Random(seed)
    result = {"case": topology, "seed": seed, "errors": [], "silences": []}
    unit = harness.Unit(options.build, replicas=3,
                        options=[*kill_members.TOPOLOGIES[topology], *options.option])
    try:
        unit.start()
        checker = harness.Checker(options.build, unit.port, options.seconds, seed, "--rate",
                                  str(options.rate), "--connections", str(options.connections),
                                  "--upload", "--slow-reader", "--churn", "200")
        times = []
        try:
            if checker.wait_ready():
                for number in range(options.hand_overs):
                    at, what, done = hand_over(unit, options.role[number % len(options.role)], chance)
                    times.append((at, what))
                    if done.returncode != 0:
                        result["errors"].append(f"{what}: exit {done.returncode}: {done.stderr}")
                    time.sleep(chance.uniform(0, 0.2))
                times += kill_members.kill_all_but_one(unit, 3, 1, chance)
        finally:
            report = checker.result()
        result["errors"] += harness.troubles(report)
        result["replies"] = report["replies"]
        result["silences"] = [(round(kill_members.silence_after_ms(report, at), 1), what)
                              for at, what in times]
        if not times:
            result["errors"].append("nothing was handed over: the checker did not get under way")
    except harness.HarnessError as error:
        result["errors"].append(str(error))
    return harness.conclude(unit, result)


def runs(options):
    for number, topology in enumerate(options.topology or ("chain", "fanout")):
        yield run(options, topology, options.seed + 1000 * number)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kill_members.add_options(parser)
    parser.set_defaults(seconds=8)
    parser.add_argument("--role", action="append", choices=("sender",))
    parser.add_argument("--hand-overs", type=int, default=8, help="before the kills")
    options = parser.parse_args(arguments)
    options.role = options.role or ["sender"]
    return kill_members.conclude(options, runs(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
