#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Simulates millions of units: all sizes, on every core; the first failing seed of each part is printed with the command that repeats it.

    tests/simulation/campaign.py --seeds 1000000               # about an hour on two cores
    tests/simulation/campaign.py --first 5000000 --seeds 20000 --members 3
    tests/simulation/campaign.py --seeds 1000000 --write       # and adds the transitions seen to transitions.txt

Exit 0: no seed failed."""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TRANSITIONS = HERE / "transitions.txt"
# Of a unit; 0: as the seed says. Half of all seeds have the sizes that most units have.
MEMBERS = [0, 2, 3, 0, 4, 2, 3, 5, 7, 9]
CHUNK = 2000


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=HERE.parent.parent / "build", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=100000, help="in all")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--members", type=int, help="of all units; else all sizes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="add what was seen to transitions.txt")
    return parser.parse_args()


def known_lines():
    return {line for line in TRANSITIONS.read_text().splitlines() if line and not line.startswith("#")}


def run(build, members, first, seeds):
    """The transitions seen, and None or how to repeat the failure."""
    command = [str(build / "simulate"), "--members", str(members), "--seed", str(first), "--seeds", str(seeds)]
    result = subprocess.run([*command, "--transitions"], capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    if result.returncode == 0:
        return set(lines), None
    why = lines[-1] if lines else f"ended with {result.returncode}"
    return set(), f"{why}\n  repeat: {' '.join(command[:3])} --trace --seed {why.split(':')[0].removeprefix('seed ')}"


def main():
    args = options()
    starts = range(args.first, args.first + args.seeds, CHUNK)
    seen, failures, done = set(), 0, 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = []
        for number, start in enumerate(starts):
            members = MEMBERS[number % len(MEMBERS)] if args.members is None else args.members
            seeds = min(CHUNK, args.first + args.seeds - start)
            runs.append((seeds, pool.submit(run, args.build, members, start, seeds)))
        for seeds, future in runs:
            lines, failure = future.result()
            seen |= lines
            done += seeds
            if failure:
                failures += 1
                print(failure, flush=True)
            if done % (50 * CHUNK) == 0:
                print(f"{done} seeds, {failures} failures, {len(seen)} transitions", flush=True)
    known = known_lines()
    print(f"{args.seeds} seeds, {failures} failures; {len(seen & known)} of {len(known)} known transitions, {len(seen - known)} others")
    if args.write:
        header = [line for line in TRANSITIONS.read_text().splitlines() if line.startswith("#")]
        TRANSITIONS.write_text("\n".join(header + sorted(known | seen)) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
