#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stops (SIGSTOP) one process of a unit, or all of them, under the exactly-once checker, and wakes it later.

As kill_replica.py: each repetition starts a fresh unit and runs the same load without and with the
stop. Expected: no connection error, every request applied and answered exactly once, at most the
time-out and 20 ms of extra silence, and no harm from whoever wakes up. A keeper, ftrun, or the whole
unit that is stopped for a second costs no replica. Prints a table; exit status 1 when anything failed.
"""

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import time

import harness
import kill_replica

WHOLE_UNIT = "unit"
HARMLESS = ("any-keeper", "ftrun", WHOLE_UNIT)
TIME_OUT_MS = 150
STOP_S = 0.6  # beyond the time-out
WHOLE_STOP_S = 1.0


def processes_of(unit, status):
    """What must stay the same when nothing is lost."""
    del unit
    return sorted((r["id"], r["app_pid"], r["supervisor_pid"]) for r in status["replicas"])


def stop_and_wake(pids, seconds, chance):
    """SIGSTOPs all, in random order, and wakes them. Returns the time before the stop (ns)."""
    pidfds = [os.pidfd_open(pid) for pid in pids]
    before = time.monotonic_ns()
    for number, wait in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0)):
        chance.shuffle(pidfds)
        for pidfd in pidfds:
            with contextlib.suppress(ProcessLookupError):  # it was excluded, and so killed
                signal.pidfd_send_signal(pidfd, number)
        time.sleep(wait)
    for pidfd in pidfds:
        os.close(pidfd)
    return before


def survivors_serve(unit, victim, before):
    """What is wrong with the unit afterwards, as lines."""
    wanted = "protected" if victim in HARMLESS else "unprotected"
    try:
        harness.until(lambda: unit.protection() == wanted, 5, f"the unit is {wanted}")
    except harness.HarnessError as error:
        return [str(error)]
    lost = wanted == "protected" and processes_of(unit, unit.status()) != before
    return (["a replica was lost"] if lost else []) + (
        [] if harness.answers(unit.port) else ["no answer to a new client"])


def repetition(options, victim, seed):
    """One unit, one run without and one with a stop. Returns a result dictionary."""
    chance = random.Random(seed)
    result = {"victim": victim, "seed": seed, "errors": []}
    unit = harness.Unit(options.build)
    try:
        unit.start()
        base = kill_replica.one_run(options.build, unit.port, options, seed)
        result["errors"] += [f"without a stop: {line}" for line in harness.troubles(base)]
        status = unit.status()
        before = processes_of(unit, status)
        whole = victim == WHOLE_UNIT
        pids = ([pid for pid in unit.pids() if pid != unit.process.pid] if whole
                else [unit.victim(victim, status, chance)])
        wait = chance.uniform(0.1, options.seconds * 0.4)

        def stop():
            time.sleep(wait)
            return stop_and_wake(pids, WHOLE_STOP_S if whole else STOP_S, chance)

        report = kill_replica.one_run(options.build, unit.port, options, seed + 1, stop)
        result["errors"] += harness.troubles(report)
        result.update(replies=report["replies"], base_ms=base["longest_silence_us"] / 1000)
        if report["killed_at_ns"] is None:
            result["errors"].append("nothing was stopped: the checker did not get under way")
        else:
            result["stop_ms"] = kill_replica.silence_of_kill_ms(report)
            result["errors"] += survivors_serve(unit, victim, before)
    except harness.HarnessError as error:
        result["errors"].append(str(error))
    return harness.conclude(unit, result)


def print_table(victim, results, limit_ms):
    """One line for a victim; returns whether the silence was within the limit."""
    more = [r["stop_ms"] - r["base_ms"] for r in results if "stop_ms" in r]
    allowed = limit_ms + {WHOLE_UNIT: WHOLE_STOP_S * 1000}.get(victim, TIME_OUT_MS)
    within = bool(more) and max(more) <= allowed
    failed = sum(1 for r in results if r["errors"])
    print(f"{victim:20} runs {len(results):3}  failed {failed:2}  replies "
          f"{sum(r.get('replies', 0) for r in results):8}  more silence: median "
          f"{statistics.median(more) if more else float('nan'):7.1f} ms, worst "
          f"{max(more, default=float('nan')):7.1f} ms (limit {allowed:.0f})  "
          f"{'ok' if within else 'exceeded'}")
    return within


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"))
    parser.add_argument("--victim", action="append", choices=(*harness.VICTIMS, WHOLE_UNIT),
                        help="may be given several times; default: each in turn")
    parser.add_argument("--repetitions", type=int, default=2, help="of each victim")
    parser.add_argument("--seconds", type=float, default=3, help="of each run")
    parser.add_argument("--rate", type=float, default=20000, help="requests/s (0: no limit)")
    parser.add_argument("--connections", type=int, default=24)
    parser.add_argument("--extra-load", choices=kill_replica.EXTRA, default="none")
    parser.add_argument("--background-load", action="store_true",
                        help="20 more closed-loop clients as fast as they can")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--extra-limit-ms", type=float, default=20,
                        help="silence allowed beyond the time-out (or the stop of the whole unit)")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    options.build = os.path.abspath(options.build)
    print(f"seed {options.seed}")
    fine = True
    for victim in options.victim or (*harness.VICTIMS, WHOLE_UNIT):
        results = []
        for i in range(options.repetitions):
            result = repetition(options, victim, options.seed + 1000 * i)
            results.append(result)
            for line in result["errors"]:
                print(f"FAILED {victim} #{i} (seed {result['seed']}): {line}")
            if result.get("kept"):
                print(f"  evidence: {result['kept']}\n{result['output']}")
        fine = print_table(victim, results, options.extra_limit_ms) and fine
        fine = fine and not any(r["errors"] for r in results)
        sys.stdout.flush()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
