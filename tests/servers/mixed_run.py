#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs ftrun-mixed-load against a bare or a replicated redis-server.

Replicated, the unit must still be protected afterwards: a replica that diverged while it replayed the
load would have been taken out. Python 3 standard library only.
"""

import argparse
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../faults"))
import harness  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"))
    parser.add_argument("--under", choices=("bare", "ftrun"), default="ftrun")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--as-user", action="store_true", help="run the server unprivileged")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    server = (harness.Bare(as_user=options.as_user) if options.under == "bare" else
              harness.Unit(build, as_user=options.as_user))
    print(f"seed {options.seed}", flush=True)
    with server:
        run = subprocess.run([os.path.join(build, "ftrun-mixed-load"), "--port", str(server.port),
                              "--requests", str(options.requests), "--seed", str(options.seed)],
                             capture_output=True, text=True, check=False)
        print(run.stdout + run.stderr, end="")
        good = run.returncode == 0 and json.loads(run.stdout)["ok"]
        if options.under == "ftrun":
            status = server.status()
            print(json.dumps(status))
            good = good and status is not None and status["protection"] == "protected"
            if not good:
                print(server.output() + server.ctl("events").stdout[-4000:])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
