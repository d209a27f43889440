#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills one process of a unit at a random moment under the exactly-once checker.

Each repetition starts a fresh unit and runs the same load twice: without a kill, for the longest
silence that this machine has anyway, and with one. Expected: no connection error, every request
applied and answered exactly once, after the kill a silence of at most 5 ms (median) and 20 ms (worst)
more than that, and no process left behind. Prints a table; exit status 1 when anything failed.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time

import harness

EXTRA = {
    "none": [],
    "upload": ["--upload"],
    "slow-reader": ["--slow-reader"],
    "churn": ["--churn", "2000"],
    "leavers": ["--churn", "200"],
    "all": ["--upload", "--slow-reader", "--churn", "500"],
}


def one_run(build, port, options, seed, kill=None):
    """Runs the checker once; `kill` is called once it is under way. Returns its report."""
    load = None
    if options.background_load:
        load = subprocess.Popen(
            [os.path.join(build, "ftrun-load"), "--port", str(port), "--connections", "20",
             "--seconds", str(options.seconds + 1)], stdout=subprocess.DEVNULL)
    checker = harness.Checker(build, port, options.seconds, seed, "--rate", str(options.rate),
                              "--connections", str(options.connections),
                              *EXTRA[options.extra_load])
    killed_at = None
    if checker.wait_ready() and kill is not None:
        killed_at = kill()
    report = checker.result()
    report["killed_at_ns"] = killed_at
    if load is not None and load.wait() != 0:
        report["ok"] = False
        report["connection_errors"].append("the background load saw errors")
    return report


def silence_of_kill_ms(report):
    """The longest silence that ended within a second after the kill: later ones are not its doing."""
    killed_at = report["killed_at_ns"]
    return max((us / 1000 for start_ns, us in report["silence_peaks"]
                if killed_at - 50_000_000 < start_ns < killed_at + 1_000_000_000), default=0)


def repetition(options, victim, seed):
    """One unit, one run without and one with a kill. Returns a result dictionary."""
    chance = random.Random(seed)
    result = {"victim": victim, "seed": seed, "errors": []}
    unit = harness.Unit(options.build, as_user=options.as_user, options=options.option)
    try:
        unit.start()
        base = one_run(options.build, unit.port, options, seed)
        result["errors"] += [f"without a kill: {line}" for line in harness.troubles(base)]
        pid = unit.victim(victim, unit.status(), chance)
        wait = chance.uniform(0.2, options.seconds * 0.6)

        def kill():
            time.sleep(wait)
            return harness.kill_now(pid)

        report = one_run(options.build, unit.port, options, seed + 1, kill)
        result["errors"] += harness.troubles(report)
        result.update(replies=report["replies"], base_ms=base["longest_silence_us"] / 1000)
        if report["killed_at_ns"] is None:
            result["errors"].append("nothing was killed: the checker did not get under way")
        else:
            result["kill_ms"] = silence_of_kill_ms(report)
        result["protection_after"] = unit.protection()
    except harness.HarnessError as error:
        result["errors"].append(str(error))
    return harness.conclude(unit, result)


def judge(results, options):
    """Adds the limits on the silence that a kill costs. Returns one summary per victim."""
    summaries = []
    for victim in dict.fromkeys(r["victim"] for r in results):
        mine = [r for r in results if r["victim"] == victim]
        more = [r["kill_ms"] - r["base_ms"] for r in mine if "kill_ms" in r]
        summary = {"victim": victim, "runs": len(mine),
                   "failed": sum(1 for r in mine if r["errors"]),
                   "replies": sum(r.get("replies", 0) for r in mine),
                   "median_ms": statistics.median(more) if more else float("nan"),
                   "worst_ms": max(more, default=float("nan")),
                   "base_ms": statistics.median(r["base_ms"] for r in mine if "base_ms" in r)
                   if more else float("nan"),
                   "kill_ms": statistics.median(r["kill_ms"] for r in mine if "kill_ms" in r)
                   if more else float("nan"), "limits": "ok"}
        if not (summary["median_ms"] <= options.median_limit_ms and
                summary["worst_ms"] <= options.worst_limit_ms):
            summary["limits"] = "exceeded"
        summaries.append(summary)
    return summaries


def print_table(summaries):
    print(f"{'victim':20} {'runs':>4} {'failed':>6} {'replies':>9} {'no kill':>9} "
          f"{'kill':>9} {'median more':>11} {'worst more':>10}  silence")
    for s in summaries:
        print(f"{s['victim']:20} {s['runs']:4} {s['failed']:6} {s['replies']:9} "
              f"{s['base_ms']:6.1f} ms {s['kill_ms']:6.1f} ms {s['median_ms']:8.1f} ms {s['worst_ms']:7.1f} ms  "
              f"{s['limits']}")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"))
    parser.add_argument("--victim", action="append", choices=harness.VICTIMS,
                        help="may be given several times; default: each in turn")
    parser.add_argument("--repetitions", type=int, default=2, help="of each victim")
    parser.add_argument("--seconds", type=float, default=3, help="of each run")
    parser.add_argument("--rate", type=float, default=20000, help="requests/s (0: no limit)")
    parser.add_argument("--connections", type=int, default=24)
    parser.add_argument("--extra-load", choices=EXTRA, default="none")
    parser.add_argument("--background-load", action="store_true",
                        help="20 more closed-loop clients as fast as they can")
    parser.add_argument("--as-user", action="store_true", help="run the unit unprivileged")
    parser.add_argument("--option", action="append", default=[], help="of ftrun, for every unit")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--median-limit-ms", type=float, default=5)
    parser.add_argument("--worst-limit-ms", type=float, default=20)
    parser.add_argument("--ignore-silence", action="store_true",
                        help="report the silence, but let only errors fail")
    parser.add_argument("--json", help="append one JSON line per repetition to this file")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    options.build = os.path.abspath(options.build)
    print(f"seed {options.seed}")
    results = []
    for victim in options.victim or harness.VICTIMS:
        for i in range(options.repetitions):
            result = repetition(options, victim, options.seed + 1000 * len(results))
            results.append(result)
            for line in result["errors"]:
                print(f"FAILED {victim} #{i} (seed {result['seed']}): {line}")
            if result.get("kept"):
                print(f"  evidence: {result['kept']}\n{result['output']}")
            sys.stdout.flush()
            if options.json:
                with open(options.json, "a") as file:
                    file.write(json.dumps(result) + "\n")
    summaries = judge(results, options)
    print_table(summaries)
    errors = any(s["failed"] for s in summaries)
    slow = any(s["limits"] != "ok" for s in summaries) and not options.ignore_silence
    return 1 if errors or slow else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
