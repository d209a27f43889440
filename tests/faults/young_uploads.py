#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Uploads on connections that have just been opened, and a kill of the sender's supervisor in the middle.

A young connection has a small receive buffer, which one value fills while the unit changes hands. What
was in it must be let go of by the new sender, or the client can never send the rest. Each repetition: a
fresh unit, several clients with one SET of 100 to 200 kB each, the kill while all of them have sent a
part; every client must send the rest, get its answer, and read back what it wrote.
"""

import argparse
import os
import random
import socket
import sys
import time

import harness

PATIENCE_S = 10


def body(size, seed):
    return random.Random(seed).randbytes(size)


def begin(port, number, chance):
    """Opens a connection and sends as much of a SET as goes out at once. Returns it and the rest."""
    value = body(chance.randrange(100_000, 200_000), number)
    request = (b"*3\r\n$3\r\nSET\r\n$3\r\nk%02d\r\n$%d\r\n" % (number, len(value))) + value + b"\r\n"
    client = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    first = chance.randrange(1000, len(request))
    client.sendall(request[:first])
    return client, value, request[first:]


def finish(client, number, value, rest):
    """Sends the rest and reads the value back. Returns what was wrong, or None."""
    client.settimeout(PATIENCE_S)
    try:
        client.sendall(rest)
        client.sendall(b"GET k%02d\r\n" % number)
        wanted = b"+OK\r\n$%d\r\n" % len(value) + value + b"\r\n"
        got = b""
        while len(got) < len(wanted):
            data = client.recv(1 << 20)
            if not data:
                return f"closed after {len(got)} of {len(wanted)} bytes"
            got += data
        return None if got == wanted else "wrong bytes"
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        client.close()


def repetition(options, seed):
    chance = random.Random(seed)
    result = {"seed": seed, "errors": []}
    unit = harness.Unit(options.build, as_user=options.as_user)
    try:
        unit.start()
        victim = unit.victim(options.victim, unit.status(), chance)
        uploads = [begin(unit.port, i, chance) for i in range(options.clients)]
        time.sleep(chance.choice((0, 0.001, 0.01, 0.03)))
        harness.kill_now(victim)
        for i, (client, value, rest) in enumerate(uploads):
            trouble = finish(client, i, value, rest)
            if trouble:
                result["errors"].append(f"upload {i}: {trouble}")
    except harness.HarnessError as error:
        result["errors"].append(str(error))
    return harness.conclude(unit, result)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"))
    parser.add_argument("--victim", choices=harness.VICTIMS, default="sender-supervisor")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--as-user", action="store_true", help="run the unit unprivileged")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    failed = 0
    for i in range(options.repetitions):
        result = repetition(options, options.seed + i)
        failed += bool(result["errors"])
        for line in result["errors"]:
            print(f"FAILED #{i} (seed {result['seed']}): {line}")
        sys.stdout.flush()
    print(f"{failed} of {options.repetitions} repetitions failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
