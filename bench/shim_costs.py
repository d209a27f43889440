# SPDX-License-Identifier: Apache-2.0
"""What single calls cost inside the shim: runs bench-shim-cost natively and recorded, in turn.

Figures are ns of the program's CPU time per call, each the smallest of REPEATS runs: the machine has slow minutes.
Python 3 standard library only.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../tests/faults"))
import harness  # noqa: E402

REPEATS = 3
ROUNDS = 200
ROUND_BYTES = 64_000  # as in shim_cost.cc


def connect(port, process):
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 30)
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise harness.HarnessError("bench-shim-cost does not listen") from None
            time.sleep(0.02)


def serve_rounds(client):
    data = bytes(ROUND_BYTES)
    for _ in range(ROUNDS):
        client.sendall(data)
        left = ROUND_BYTES
        while left > 0:
            left -= len(client.recv(min(left, 65536)) or exit("bench-shim-cost closed early"))


def run(command, port):
    """{operation: ns} as the program prints it (under ftrun: on the recorder's stderr)."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as process:
        with connect(port, process) as client:
            serve_rounds(client)
            said = process.communicate(timeout=120)[0]
    lines = [json.loads(line) for line in said.splitlines() if line.startswith('{"operation"')]
    if not lines:
        raise harness.HarnessError(f"bench-shim-cost printed no figures:\n{said[-2000:]}")
    return {line["operation"]: line["ns"] for line in lines}


def measure(build):
    """[{operation, native_ns, filtered_ns, walled_ns, shim_ns}] in the program's order; filtered:
    natively, under the kernel's dispatch as the shim arms it; walled: and the filter besides."""
    program = os.path.join(build, "bench-shim-cost")
    with tempfile.TemporaryDirectory(prefix="ftrun-bench-") as directory:
        recorder = [os.path.join(build, "ftrun-record-replay"), "--log",
                    os.path.join(directory, "log"), "--"]
        ways = {"native_ns": ([], []), "filtered_ns": ([], ["filtered"]),
                "walled_ns": ([], ["walled"]), "shim_ns": (recorder, [])}
        runs = {way: [] for way in ways}
        for _ in range(REPEATS):
            for way, (before, after) in ways.items():
                port = harness.free_port()
                runs[way].append(run([*before, program, str(port), *after], port))
    return [{"operation": name, **{way: min(figures[name] for figures in runs[way]) for way in ways}}
            for name in runs["native_ns"][0]]


def print_table(costs):
    print(f"{'one call, ns of CPU time':36} {'native':>9} {'dispatched':>15} {'and filtered':>13} {'in the shim':>12}")
    for cost in costs:
        print(f"{cost['operation']:36} {cost['native_ns']:9,.0f} {cost['filtered_ns']:15,.0f} "
              f"{cost['walled_ns']:13,.0f} {cost['shim_ns']:12,.0f}")
