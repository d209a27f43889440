#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Style that matters: license lines, headers that compile alone, length of functions, classes and
files, comments and assertions where mistakes do not show, what the shim imports.

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
CLASS_LINES_MAX = 220
# Of the shim's non-empty lines: a mistake there does not show, and the reasons are not in the code.
SHIM_COMMENT_PERCENT_MIN = 10
# Assertions per 100 functions. The doors' own are the comparisons of a replica with its log.
ASSERTION = re.compile(r"\b(FTRUN_ASSERT|shim_fail|doors_fail|fail_diverged|diverged|expect_record)"
                       r"\((?!const |RecordKind \w|ShimFailure \w)")
ASSERTIONS_MIN = {("supervisor/unit/*.h", "supervisor/unit/*.cc"): 9,
                  ("preload/doors*.h", "preload/doors*.cc"): 30}
# Calls that allocate, lock or buffer in the application's libc. What the shim interposes it defines;
# what it would import is undefined (U) in the library.
SHIM_FORBIDDEN = re.compile(
    r"^(malloc|calloc|realloc|free|posix_memalign|aligned_alloc|_Zn[wa]m.*|_Zd[la]Pv.*|"
    r"(v|f|s|sn|vf|vs|vsn|d|vd)?printf|puts|fputs|fopen|fclose|fwrite|fread|stdout|stderr|stdin|"
    r"pthread_(mutex|rwlock|cond|spin)_.*|__tls_get_addr|__cxa_(throw|allocate_exception|"
    r"begin_catch|guard_acquire)|_Unwind_.*|dlopen|dlsym|getenv|exit)(@.*)?$")
# Exceptions only shrink: path -> lines that are allowed.
LONG_FILES_ALLOWED = {}
LONG_CLASSES_ALLOWED = {("supervisor/replica/replica.h", "Replica"): 250,
                        ("supervisor/unit/core_impl.h", "UnitCore"): 240}


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


def class_lengths(text):
    """Yields (first line, name, lines between the braces) of classes and structs, nested too."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        head = re.match(r"(\s*)(?:template\b.*>\s*)?(?:class|struct)\s+"
                        r"(?:(?:\[\[.*?\]\]|alignas\(.*?\))\s*)?(\w+)\b[^;()]*$", line)
        if not head:
            continue
        # A list of base classes may go on for some lines; a declaration ends with a semicolon.
        body = next((j for j in range(i, len(lines)) if lines[j].endswith(("{", ";", "}"))), None)
        if body is None or not lines[body].endswith("{"):
            continue
        for j in range(body + 1, len(lines)):
            if lines[j].startswith(head.group(1) + "}"):
                yield i + 1, head.group(2), j - body - 1
                break


def comment_percent(texts):
    """Lines that are comments, license lines not counted, of all non-empty lines."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    comments = [line for line in lines
                if line.startswith("//") and "SPDX-License-Identifier" not in line]
    return 100 * len(comments) / len(lines)


def assertions_per_100_functions(texts):
    """Uses, not declarations; nothing that a comment says."""
    functions = sum(1 for text in texts for _ in function_lengths(text))
    code = "\n".join(re.sub(r"//.*", "", text) for text in texts)
    return 100 * len(ASSERTION.findall(code)) / functions


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

    def test_classes_are_short(self):
        sample = ("struct Item;\nclass [[nodiscard]] Long : public Base,\n             Other {\n" +
                  "  int a;\n" * 221 + "};\n")
        self.assertEqual(list(class_lengths(sample)), [(2, "Long", 221)])
        long = []
        for path in tracked(*(f"{room}/*.{kind}" for kind in ("h", "cc")
                              for room in ("preload", "supervisor", "eventlog", "cli"))):
            for line, name, length in class_lengths(read(path)):
                if length > LONG_CLASSES_ALLOWED.get((path, name), CLASS_LINES_MAX):
                    long.append(f"{path}:{line}: {name} has {length} lines")
        self.assertEqual(long, [])

    def test_the_shim_says_why(self):
        self.assertEqual(comment_percent(
            ["// SPDX-License-Identifier: Apache-2.0\n// Why.\n\nint a;  // no line of its own\n",
             "  // So.\n"]), 50)
        percent = comment_percent([read(path) for path in tracked("preload/*.h", "preload/*.cc")])
        self.assertGreaterEqual(percent, SHIM_COMMENT_PERCENT_MIN)

    def test_invariants_are_asserted(self):
        sample = ("[[noreturn]] void diverged(const Record& here);\n"
                  "void f() {\n  FTRUN_ASSERT(a);\n  // shim_fail(nothing)\n}\n"
                  "void g() {\n  h(expect_record(RecordKind::kExit));\n}\n"
                  "void h() {\n  g();\n}\nvoid i() {\n  g();\n}\n")
        self.assertEqual(assertions_per_100_functions([sample]), 50)
        few = []
        for patterns, least in ASSERTIONS_MIN.items():
            count = assertions_per_100_functions([read(path) for path in tracked(*patterns)])
            if count < least:
                few.append(f"{patterns}: {count:.1f} assertions per 100 functions, not {least}")
        self.assertEqual(few, [])

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
