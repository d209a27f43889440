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


def hand_over(unit, replicas, role, chance):
    """Hands `role` to somebody who may have it. Returns (time, text, whether it succeeded)."""
    status = harness.until(lambda: kill_members.settled(unit, replicas),
                           kill_members.SETTLE_TIMEOUT_S, "a settled view")
    able = [r["id"] for r in status["replicas"]
            if r["role"] != "primary" and not (role == "sender" and r["sender"])]
    to = chance.choice(able)
    at = time.monotonic_ns()
    done = unit.ctl("switchover", role, to, timeout=20)
    return at, f"{role} to {to}", done


def check(what, done):
    """What is wrong with a hand-over that should have succeeded."""
    role, to = what.split(" to ")
    if done.returncode != 0:
        return [f"{what}: exit {done.returncode}: {done.stderr}"]
    said = f"replica {to} is the primary" if role == "primary" else f"replica {to} the sender"
    return [] if said in done.stdout else [f"{what}: {done.stdout}"]


def refused(unit):
    """What is wrong with the refusals of hand-overs that cannot be."""
    status = unit.status()
    holder = {role: next(r["id"] for r in status["replicas"] if (
        r["sender"] if role == "sender" else r["role"] == role)) for role in ("primary", "sender")}
    errors = []
    for role, to, why in (("primary", holder["primary"], "the primary already"),
                          ("sender", holder["sender"], "the sender already"),
                          ("primary", "i", "not in the unit")):
        done = unit.ctl("switchover", role, to)
        if done.returncode != 1 or why not in done.stderr:
            errors.append(f"{role} to {to}: exit {done.returncode}: {done.stderr}, not: {why}")
    return errors


def run(options, topology, replicas, seed):
    chance = random.Random(seed)
    # The sender of two is who is not the primary.
    roles = options.role if replicas > 2 else ["primary"]
    result = {"case": f"{topology}, {replicas}", "seed": seed, "errors": [], "silences": []}
    transport = ["--transport=unix"] if replicas == 2 else []
    unit = harness.Unit(options.build, replicas=replicas,
                        options=[*kill_members.TOPOLOGIES[topology], *transport, *options.option])
    try:
        unit.start()
        checker = harness.Checker(options.build, unit.port, options.seconds, seed, "--rate",
                                  str(options.rate), "--connections", str(options.connections),
                                  "--upload", "--slow-reader", "--churn", "200")
        times = []
        try:
            if checker.wait_ready():
                for _ in range(options.hand_overs):
                    at, what, done = hand_over(unit, replicas, chance.choice(roles), chance)
                    times.append((at, what))
                    result["errors"] += check(what, done)
                    time.sleep(chance.uniform(0, 0.2))
                result["errors"] += refused(unit)
                times += kill_members.kill_all_but_one(unit, replicas, 1, chance)
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
    cases = [(topology, options.replicas or 3) for topology in options.topology or ("chain", "fanout")]
    if not options.topology and not options.replicas:
        cases.append(("chain", 2))
    for number, (topology, replicas) in enumerate(cases):
        yield run(options, topology, replicas, options.seed + 1000 * number)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kill_members.add_options(parser)
    parser.set_defaults(seconds=8)
    parser.add_argument("--role", action="append", choices=("primary", "sender"))
    parser.add_argument("--replicas", type=int)
    parser.add_argument("--hand-overs", type=int, default=8, help="before the kills")
    options = parser.parse_args(arguments)
    options.role = options.role or ["primary", "sender"]
    return kill_members.conclude(options, runs(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
