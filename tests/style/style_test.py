#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Style that matters: license lines, headers that compile alone, function length, what the shim imports.

Looks at tracked files only, so that work in progress does not fail it. `--build` names the build
directory with the preload library and compile_commands.json.
"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
# Calls that allocate, lock or buffer in the application's libc. What the shim interposes it defines;
# what it would import is undefined (U) in the library.
SHIM_FORBIDDEN = re.compile(
    r"^(malloc|calloc|realloc|free|posix_memalign|aligned_alloc|_Zn[wa]m.*|_Zd[la]Pv.*|"
    r"(v|f|s|sn|vf|vs|vsn|d|vd)?printf|puts|fputs|fopen|fclose|fwrite|fread|stdout|stderr|stdin|"
    r"pthread_(mutex|rwlock|cond|spin)_.*|__tls_get_addr|__cxa_(throw|allocate_exception|"
    r"begin_catch|guard_acquire)|_Unwind_.*|dlopen|dlsym|getenv|exit)(@.*)?$")
# Exceptions only shrink: path -> lines that are allowed.
LONG_FILES_ALLOWED = {}


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True,
                         text=True, check=True).stdout
    return [path for path in out.splitlines() if os.path.exists(os.path.join(ROOT, path))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def function_lengths(text):
    """Yields (first line, length) of brace blocks that start in column 0 or belong to a class.

    The formatter guarantees that a function's closing brace stands alone at the indentation of its
    first line; only blocks opened by a line with a parameter list count.
    """
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if not line.endswith("{") or re.match(
                r"\s*(namespace|class|struct|enum|union|extern|if|for|while|switch|do|else|case|"
                r"\}|return|static_assert)\b", line) or "=" in line.split("(")[0]:
            continue
        if re.search(r"\[[^\[\]]*\]\s*(\([^()]*\))?[^()]*\{$", line):
            continue  # a lambda; it counts with its function
        # Where a constructor's initialisers fit into one line, its body closes further left.
        start = i - 1 if i > 0 and line.lstrip().startswith(": ") else i
        indent = len(lines[start]) - len(lines[start].lstrip())
        while start > 0 and "(" not in lines[start]:
            start -= 1
        if "(" not in lines[start] or indent > 4 or i - start > 6:
            continue
        close = " " * indent + "}"
        for j in range(i + 1, len(lines)):
            if lines[j].rstrip(";") == close or lines[j].startswith(close + " "):
                yield i + 1, j - start + 1
                break


class Style(unittest.TestCase):
    def test_every_file_names_its_license(self):
        missing = [path for path in tracked(
            "*.h", "*.cc", "*.S", "*.py", "*.def", "*CMakeLists.txt", "scripts/*", ".ci/*", "bench/run")
            if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(
                read(path).splitlines()[:3])]
        self.assertEqual(missing, [])

    def test_functions_are_short(self):
        self.assertEqual([n for _, n in function_lengths("int f() {\n" + "  g();\n" * 80 + "}\n")],
                         [82])
        long = []
        for path in tracked("*.h", "*.cc"):
            for line, length in function_lengths(read(path)):
                if length > FUNCTION_LINES_MAX:
                    long.append(f"{path}:{line}: {length} lines")
        self.assertEqual(long, [])

    def test_files_are_short(self):
        long = [path for path in tracked("*.h", "*.cc", "*.py")
                if len(read(path).splitlines()) >
                LONG_FILES_ALLOWED.get(path, FILE_LINES_MAX)]
        self.assertEqual(long, [])

    def test_headers_compile_alone(self):
        headers = [path for path in tracked("*.h")]

        def compile_alone(path):
            return path, subprocess.run(
                ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                 "-Wno-missing-field-initializers", "-I", ROOT, "-x", "c++", "-"],
                input=f'#include "{path}"\n', capture_output=True, text=True, cwd=ROOT,
                check=False)

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(compile_alone, headers))
        failed = [f"{path}: {run.stderr[:400]}" for path, run in results if run.returncode != 0]
        self.assertEqual(failed, [], "\n".join(failed))

    def test_the_shim_imports_nothing_that_locks_or_allocates(self):
        library = os.path.join(BUILD, "libftpreload.so")
        if not os.path.exists(library):
            self.skipTest("libftpreload.so is not built")
        out = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True,
                             text=True, check=True).stdout
        names = [line.split()[-1] for line in out.splitlines()]
        self.assertEqual([name for name in names if SHIM_FORBIDDEN.match(name)], [])

    def test_every_executable_text_file_has_an_interpreter(self):
        wrong = [path for path in tracked("scripts/*", ".ci/*", "tests/*.py", "bench/run")
                 if os.access(os.path.join(ROOT, path), os.X_OK) and not read(path).startswith("#!")]
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=BUILD)
    known, rest = parser.parse_known_args()
    BUILD = os.path.abspath(known.build)
    unittest.main(argv=[sys.argv[0], *rest])
