#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a tiny program natively, recorded and replayed; all three must agree.

With --expect, the program is only run recorded, and what it and the shim say must contain the text.
--unless-native-dies skips that (exit status 77) where the kernel lacks what the program tries.
Python 3 standard library only.
"""

import argparse
import os
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--expect", action="append")
    parser.add_argument("--unless-native-dies", action="store_true")
    parser.add_argument("program", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    program = options.program[1:] if options.program[0] == "--" else options.program
    if options.unless_native_dies and subprocess.run(
            program, capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
            check=False).returncode < 0:
        return 77
    with tempfile.TemporaryDirectory(prefix="ftrun-program-") as directory:
        recorded = subprocess.run(
            [f"{build}/ftrun-record-replay", "--log", f"{directory}/log", "--", *program],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
    if options.expect:
        said = recorded.stdout + recorded.stderr
        missing = [text for text in options.expect if text not in said]
        if missing:
            print(f"missing: {missing}\n{said}")
        return 1 if missing else 0
    native = subprocess.run(program, capture_output=True, text=True, timeout=60,
                            stdin=subprocess.DEVNULL, check=False)
    print(native.stdout, recorded.stdout, sep="----\n")
    # The recorder shows the program's console on its own stderr.
    if recorded.stderr != native.stdout + native.stderr:
        print(f"recorded it said:\n{recorded.stderr}")
        return 1
    code = native.returncode
    ended = f"exit code {code}\n" if code >= 0 else f"signal {-code} "
    same_exit = f"exited: {ended}" in recorded.stdout
    return 0 if same_exit and recorded.returncode == 0 and "\nequal" in recorded.stdout else 1


if __name__ == "__main__":
    sys.exit(main())
