#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mixed load on a protected redis for a long time, with ftctl in use: does anything grow?

Every few seconds it samples, for each process of the unit, resident memory, descriptors and threads,
and for each replica how far it lags behind the log. After a warm-up these must be flat: the median of
the last quarter of the samples may exceed that of the first quarter by the bounds below at most. The
unit must stay protected, and the load must see no error. At the end one replica is killed: an
unprotected unit has to say so on ftrun's stderr, in the events and in ftctl's exit status.
Prints a table; exit status 1 when anything failed.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time

import harness

# By how much a process may grow between the first and the last quarter: an allocator settles, a
# leak of one small object per request (thousands a second) does not fit.
RSS_GROWTH_KB = 2048
RSS_GROWTH_SHARE = 0.03
DESCRIPTOR_GROWTH = 2
THREAD_GROWTH = 0
LAG_GROWTH_RECORDS = 2000
EVENTS_BYTES_MAX = 256 * 1024
WARM_UP_SHARE = 0.2
KEYS = 2000
VALUE_BYTES = 1024
LOAD_SECONDS = 20


def process_sample(pid):
    """Resident kilobytes, descriptors and threads of a process."""
    fields = {}
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            name, _, value = line.partition(":")
            fields[name] = value
    return {"rss_kb": int(fields["VmRSS"].split()[0]), "threads": int(fields["Threads"]),
            "fds": len(os.listdir(f"/proc/{pid}/fd"))}


def sample(unit):
    """One value per process and measure, and per replica; raises if the unit is not protected."""
    status = unit.status()
    if not status or status.get("protection") != "protected":
        raise harness.HarnessError(f"the unit is not protected: {status}")
    values = {("ftrun", k): v for k, v in process_sample(unit.process.pid).items()}
    for replica in status["replicas"]:
        for name in ("app", "supervisor", "keeper"):
            for measure, value in process_sample(replica[f"{name}_pid"]).items():
                values[f"{replica['id']} {name}", measure] = value
        values[f"{replica['id']} log", "lag"] = replica["lag_records"]
    return values


class Load:
    """Rounds of mixed load, one after the other: many readers, few writers, pipelines. All use one
    size of value: the load generator checks it in what other rounds have written."""

    SHAPES = (["--connections", "20", "--get-percent", "80"],
              ["--connections", "5", "--get-percent", "10"],
              ["--connections", "50", "--pipeline", "8"])

    def __init__(self, build, port):
        self.command = [os.path.join(build, "ftrun-load"), "--port", str(port), "--keys",
                        str(KEYS), "--value-bytes", str(VALUE_BYTES), "--seconds", str(LOAD_SECONDS)]
        self.rounds = 0
        self.failed = []
        self.requests = 0
        self.process = None

    def keep_going(self):
        """Collects a round that has ended and starts the next."""
        if self.process is not None and self.process.poll() is None:
            return
        self.collect()
        self.process = subprocess.Popen(
            [*self.command, *self.SHAPES[self.rounds % len(self.SHAPES)]], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.rounds += 1

    def collect(self):
        if self.process is None:
            return
        output = self.process.communicate(timeout=LOAD_SECONDS + 60)[0]
        if self.process.returncode != 0:
            self.failed.append(output.strip()[-500:])
        else:
            with contextlib.suppress(ValueError, IndexError):
                self.requests += json.loads(output.strip().splitlines()[-1]).get("requests", 0)
        self.process = None


def use_ftctl(unit):
    """What an operator looks at; each has to answer in time."""
    for arguments in (("status",), ("events",), ("logs",)):
        done = unit.ctl(*arguments)
        if done.returncode != 0:
            raise harness.HarnessError(
                f"ftctl {arguments[0]} ended with {done.returncode}: {done.stderr}")


def run(unit, build, minutes, interval):
    """Loads the unit and samples it. Returns the samples and the load."""
    samples = []
    load = Load(build, unit.port)
    end = time.monotonic() + minutes * 60
    try:
        while time.monotonic() < end:
            load.keep_going()
            samples.append(sample(unit))
            use_ftctl(unit)
            time.sleep(interval)
    finally:
        if load.process is not None and sys.exc_info()[0] is not None:
            load.process.kill()
        load.collect()
    return samples, load


def allowed_growth(measure, first):
    return {"rss_kb": max(RSS_GROWTH_KB, first * RSS_GROWTH_SHARE), "fds": DESCRIPTOR_GROWTH,
            "threads": THREAD_GROWTH, "lag": LAG_GROWTH_RECORDS}[measure]


def judge(samples):
    """One row per process and measure: first quarter, last quarter, most, allowed, verdict."""
    warm = samples[int(len(samples) * WARM_UP_SHARE):]
    quarter = max(1, len(warm) // 4)
    rows = []
    for name, measure in warm[-1]:
        values = [s[name, measure] for s in warm if (name, measure) in s]
        first = statistics.median(values[:quarter])
        last = statistics.median(values[-quarter:])
        allowed = allowed_growth(measure, first)
        rows.append((name, measure, first, last, max(values), allowed, last - first <= allowed))
    return rows


def print_table(rows):
    print(f"{'process':14} {'measure':8} {'first':>9} {'last':>9} {'most':>9} {'may grow':>9}")
    for name, measure, first, last, most, allowed, flat in rows:
        print(f"{name:14} {measure:8} {first:9.0f} {last:9.0f} {most:9.0f} {allowed:9.0f}  "
              f"{'flat' if flat else 'GROWS'}")


def check_unprotected(unit):
    """Kills one replica: the unit serves on and says loudly that it is unprotected."""
    victim = next(r for r in unit.status()["replicas"] if r["role"] == "secondary")
    os.kill(victim["app_pid"], signal.SIGKILL)
    harness.until(lambda: unit.protection() == "unprotected", 10, "the unit to say unprotected")
    problems = []
    code = unit.ctl("status").returncode
    if code != 1:
        problems.append(f"ftctl status of an unprotected unit ends with {code}, not 1")
    if '"unprotected"' not in unit.ctl("events").stdout:
        problems.append("ftctl events does not say unprotected")
    with contextlib.suppress(harness.HarnessError):
        harness.until(lambda: "unprotected" in unit.output().lower(), 5, "ftrun's message")
    if "unprotected" not in unit.output().lower():
        problems.append("ftrun's stderr does not say unprotected")
    if not harness.answers(unit.port):
        problems.append("the unprotected unit does not answer")
    return problems


def soak(options):
    unit = harness.Unit(options.build, as_user=options.as_user)
    problems = []
    samples = []
    try:
        unit.start()
        samples, load = run(unit, options.build, options.minutes, options.interval)
        problems += [f"load: {text}" for text in load.failed]
        print(f"{len(samples)} samples, {load.rounds} rounds of load, {load.requests} requests")
        if load.requests == 0:
            problems.append("the load did nothing")
        events = len(unit.ctl("events").stdout)
        if events > EVENTS_BYTES_MAX:
            problems.append(f"{events} bytes of events")
        problems += check_unprotected(unit)
    except (harness.HarnessError, OSError, KeyError, StopIteration,
            subprocess.TimeoutExpired) as error:
        problems.append(f"{type(error).__name__}: {error}\n{unit.output()}")
    if unit.stop():
        problems.append("processes outlived the stop")
    if samples:
        rows = judge(samples)
        print_table(rows)
        problems += [f"{row[0]}: {row[1]} grows" for row in rows if not row[-1]]
    return problems


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--interval", type=float, default=5, help="seconds between samples")
    parser.add_argument("--as-user", action="store_true", help="run the unit unprivileged")
    options = parser.parse_args(arguments)
    options.build = os.path.abspath(options.build)
    problems = soak(options)
    for line in problems:
        print(f"FAILED {line}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
