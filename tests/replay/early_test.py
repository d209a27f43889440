#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Early logging, without a unit: a secondary that is fed record by record while the primary runs, and one that
goes live wherever its log ends.

Python 3 standard library only.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import time

# Without a network: the promoted one has no edge.
PROGRAMS = ("contexts", "flags", "handlers", "identity", "kinds", "limits", "locks", "memory", "own_names", "plain",
            "pointers", "signals", "threads", "time", "waiting")


def run(build, arguments, program, timeout=120):
    return subprocess.run([f"{build}/ftrun-early-replay", *arguments, "--", *program], capture_output=True,
                          timeout=timeout, stdin=subprocess.DEVNULL, check=False)


def natively(program):
    return subprocess.run(program, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


def ended(code):
    return b"exited: exit code %d\n" % code if code >= 0 else b"exited: signal %d " % -code


def check(condition, what, result):
    if not condition:
        raise SystemExit(f"FAILED: {what}\n{result.stdout.decode(errors='replace')}\n"
                         f"{result.stderr.decode(errors='replace')[-3000:]}")


def promotions(build, seed, seconds):
    """Each program as a whole, then with its primary killed at any record."""
    rng = random.Random(seed)
    records = {}
    count = inside = 0
    stop = time.monotonic() + seconds
    while time.monotonic() < stop or len(records) < len(PROGRAMS):
        name = rng.choice(PROGRAMS) if len(records) == len(PROGRAMS) else PROGRAMS[len(records)]
        program = [f"{build}/program_{name}"]
        if name not in records:
            whole = run(build, ["--seed", str(rng.randrange(1000))], program)
            check(whole.returncode == 0 and b"\nequal" in whole.stdout, f"{name}: as a whole", whole)
            records[name] = int(re.search(rb"records (\d+)", whole.stdout).group(1))
        at = rng.randrange(1, records[name] + 1)
        native = natively(program)
        result = run(build, ["--seed", str(rng.randrange(1000)), "--promote", str(at)], program)
        same = result.stderr == native.stdout + native.stderr and ended(native.returncode) in result.stdout
        check(result.returncode == 0 and same, f"{name}: promoted after {at} records", result)
        count += 1
        inside += re.search(rb" [1-9]\d* bytes into a turn", result.stdout) is not None
    print(f"{count} promotions, {inside} of them in the middle of a turn")
    if inside * 2 < count:
        raise SystemExit("FAILED: most promotions should be in the middle of a turn")


def alongside(build):
    """A secondary does what the primary has done of a turn that does not end; but not if it cannot know
    whether there is a record."""
    program = [f"{build}/program_computing", "1000"]
    result = run(build, ["--alongside", "1"], program)
    check(result.returncode == 0 and b"alongside, in turn 1" in result.stdout, "alongside", result)
    result = run(build, ["--alongside", "1", "--plant", "2", "--seconds", "4"], program)
    check(result.returncode != 0 and b"no end" in result.stderr,
          "it went on without knowing how far the primary is", result)


def planted(build):
    """Progress that is told too early is noticed."""
    for seed in range(20):
        result = run(build, ["--plant", "1", "--seed", str(seed)], [f"{build}/program_computing", "clock"])
        if result.returncode != 0 and b"diverged" in result.stderr:
            return
    check(False, "progress told too early was not noticed", result)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    print(f"seed {options.seed}", flush=True)
    alongside(build)
    planted(build)
    promotions(build, options.seed, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
