#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two replicas of a program hand the primary's part to and fro at any turn's end: it says and ends as natively.

Python 3 standard library only.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import time

from early_test import check, ended, natively

# Without a network, and with turns enough; those that are left out crash, which is no turn.
PROGRAMS = ("flags", "handlers", "identity", "kinds", "limits", "locks", "memory", "plain", "pointers", "signals",
            "threads", "time", "waiting")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    print(f"seed {options.seed}", flush=True)
    chance = random.Random(options.seed)
    stop = time.monotonic() + options.seconds
    runs = swaps = 0
    while time.monotonic() < stop or runs < len(PROGRAMS):
        name = PROGRAMS[runs % len(PROGRAMS)]
        program = [f"{build}/program_{name}"]
        native = natively(program)
        pace = chance.choice((1, 2, 5, 20))  # one in so many looks ends in a hand-over
        result = subprocess.run([f"{build}/ftrun-role-replay", "--seed", str(200 * chance.randrange(1000) + pace - 1),
                                 "--", *program], capture_output=True, timeout=120, stdin=subprocess.DEVNULL,
                                check=False)
        same = result.stderr == native.stdout + native.stderr and ended(native.returncode) in result.stdout
        check(result.returncode == 0 and same and b"\nequal" in result.stdout, f"{name}, pace {pace}", result)
        swaps += int(re.search(rb"swaps (\d+)", result.stdout).group(1))
        runs += 1
    print(f"{runs} runs, {swaps} hand-overs")
    if swaps < runs:
        raise SystemExit("FAILED: too few hand-overs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
