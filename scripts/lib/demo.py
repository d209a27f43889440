#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The show behind scripts/demo: a replicated redis-server, clients' rate over time, and kills.

Two kinds of clients watch: ftrun-load, whose rate is drawn, and ftrun-check-clients, which compares
every reply with what exactly-once processing must give. Nothing is retried or reconnected.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/faults"))
import harness  # noqa: E402

ACTS = (
    ("primary-app", "the primary redis-server, which decides everything"),
    ("sender-supervisor", "the supervisor that holds every client's connection"),
)
PROGRESS_MS = 200
FULL_BAR = 40


def draw(point, rate_full):
    rate = point["requests"] * 1000 / PROGRESS_MS
    bar = "#" * min(FULL_BAR, round(FULL_BAR * rate / rate_full))
    return (f"  {point['at_ms'] / 1000:5.1f} s {rate:8,.0f}/s {bar:{FULL_BAR}} longest wait "
            f"{point['longest_wait_us'] / 1000:6.1f} ms  errors {point['errors']}")


def show_load(load, kill_at_s, kill):
    """Prints the load's progress and kills in the middle; returns (points, report)."""
    points = []
    killed = False
    for line in load.stdout:
        data = json.loads(line)
        if "at_ms" not in data:
            return points, data
        points.append(data)
        full = max(p["requests"] for p in points) * 1000 / PROGRESS_MS
        print(draw(data, max(full, 1)), flush=True)
        if not killed and data["at_ms"] >= kill_at_s * 1000:
            killed = True
            kill()
    return points, {}


def describe(status):
    for r in status["replicas"]:
        roles = r["role"] + (", answers the clients" if r["sender"] else "")
        print(f"  replica {r['id']}: {roles}; redis-server {r['app_pid']}, supervisor "
              f"{r['supervisor_pid']}, keeper {r['keeper_pid']}")


def act(build, victim, why, seconds):
    """One unit and one kill. Returns the list of what went wrong."""
    with harness.Unit(build) as unit:
        print(f"\nredis-server on port {unit.port}, unmodified, two replicas:")
        describe(unit.status())
        checker = harness.Checker(build, unit.port, seconds, int(time.time()), "--rate", "2000")
        load = subprocess.Popen(
            [os.path.join(build, "ftrun-load"), "--port", str(unit.port), "--connections", "20",
             "--seconds", str(seconds), "--get-percent", "50", "--progress-ms", str(PROGRESS_MS)],
            stdout=subprocess.PIPE, text=True)

        killed = []

        def kill():
            pid = unit.victim(victim, unit.status(), random.Random(1))
            harness.kill_now(pid)
            killed.append(pid)
            print(f"  >>>>> SIGKILL of process {pid}: {why}", flush=True)

        points, report = show_load(load, seconds / 2, kill)
        load.wait()
        checked = checker.result()
        after = unit.status() or {}
        print(f"  load:    {report.get('requests', 0):,} requests, longest silence "
              f"{report.get('longest_silence_us', 0) / 1000:.1f} ms, errors: "
              f"{report.get('errors', 'no report')}")
        print(f"  checker: {checked['replies']:,} replies compared on {checked['connections']} "
              f"connections, longest silence {checked['longest_silence_us'] / 1000:.1f} ms, lost: "
              f"{checked['lost']}, doubled: {checked['doubled']}, errors: "
              f"{checked['connection_error_count'] + checked['wrong_reply_count']}")
        print(f"  the unit is now {after.get('protection', 'gone')}")
        wrong = harness.troubles(checked)
        if not killed:
            wrong.append("nothing was killed")
        if load.returncode != 0 or not points:
            wrong.append(f"load: {report.get('first_error', 'no report')}")
        return wrong


def main():
    parser = argparse.ArgumentParser(description="Kills a replicated redis-server under load.")
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"))
    parser.add_argument("--seconds", type=float, default=5, help="of each act")
    options = parser.parse_args()
    wrong = []
    for victim, why in ACTS:
        try:
            wrong += act(os.path.abspath(options.build), victim, why, options.seconds)
        except harness.HarnessError as error:
            wrong.append(str(error))
    print()
    for line in wrong:
        print(f"FAILED: {line}")
    print("failed" if wrong else "Both times the clients noticed a pause and nothing else.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
