#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a program natively and as a unit of two replicas with a state directory; both must agree,
and no replica may be lost.

Python 3 standard library only.
"""

import os
import subprocess
import sys
import tempfile


def main():
    build = os.path.abspath(sys.argv[1])
    program = f"{build}/{sys.argv[2]}"
    with tempfile.TemporaryDirectory(prefix="ftrun-state-") as directory:
        state = os.path.join(directory, "state")
        os.mkdir(state)
        native = subprocess.run([program, state], capture_output=True, text=True, timeout=60,
                                stdin=subprocess.DEVNULL, check=False)
        unit = subprocess.run([f"{build}/ftrun", "--run-dir", f"{directory}/run", "--state-dir", state,
                               "--", program, state], capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, check=False)
        left = sorted(os.listdir(directory))
    print(native.stdout, unit.stdout, unit.stderr, left, sep="----\n")
    same = native.stdout == unit.stdout and unit.returncode == native.returncode == 0
    return 0 if same and "WARNING" not in unit.stderr else 1


if __name__ == "__main__":
    sys.exit(main())
