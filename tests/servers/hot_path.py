#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the system calls of a replicated redis-server under load: the hot path has none.

What may be left is sleeping and waking, fewer than the requests, looking around before sleeping while there is
nothing to do, and a few calls a second of the server's own clockwork. Python 3 standard library only.
"""

import argparse
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../faults"))
import harness  # noqa: E402

SECONDS = 3
OTHER_PER_SECOND_MAX = 200  # clockwork: redis-server looks at itself ten times a second
# (name, options of ftrun-load, wake-ups per request at most)
LOADS = (("50 clients", ("--connections", "50"), 0.6),
         ("50 clients, pipeline 16", ("--connections", "50", "--pipeline", "16"), 0.1))


def counters(unit):
    return {r["id"]: (r["kernel_calls"], r["wake_calls"], r["spin_calls"])
            for r in unit.status()["replicas"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"))
    build = os.path.abspath(parser.parse_args().build)
    wrong = []
    with harness.Unit(build) as unit:
        for name, options, wakes_max in LOADS:
            before = counters(unit)
            run = subprocess.run(
                [os.path.join(build, "ftrun-load"), "--port", str(unit.port), "--get-percent", "50",
                 "--keys", "1000", "--seconds", str(SECONDS), *options],
                capture_output=True, text=True, check=True)
            requests = json.loads(run.stdout.splitlines()[-1])["requests"]
            after = counters(unit)
            for replica in after:
                calls, wakes, spins = (b - a for a, b in zip(before[replica], after[replica]))
                other = calls - wakes - spins
                print(f"{name}, replica {replica}: {requests} requests, {wakes} sleeps and wake-ups "
                      f"({wakes / requests:.3f} each), {spins} looks around before sleeping, "
                      f"{other} other system calls")
                if wakes > wakes_max * requests or other > OTHER_PER_SECOND_MAX * (SECONDS + 1):
                    wrong.append(f"{name}, replica {replica}: too many system calls")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
