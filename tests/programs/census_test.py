#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists the system calls that the table has a handler for and that no test program ever makes.

A handler that nobody calls is not known to do what the kernel does; give it a line in one of the
programs. Each program runs natively, traced by call_census; one with a colon and a word behind its
name gets that as its argument, "DIRECTORY" an empty directory. Python 3 standard library only.
"""

import subprocess
import sys
import tempfile


def calls(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=100,
                          stdin=subprocess.DEVNULL, check=True)
    return set(done.stdout.split())


def main():
    census = sys.argv[1]
    never = calls(census, "--all")
    for program in sys.argv[2:]:
        with tempfile.TemporaryDirectory(prefix="ftrun-census-") as directory:
            path, _, argument = program.partition(":")
            arguments = [directory if argument == "DIRECTORY" else argument] if argument else []
            never -= calls(census, path, *arguments)
    for name in sorted(never):
        print(f"no test program calls {name}")
    return 1 if never else 0


if __name__ == "__main__":
    sys.exit(main())
