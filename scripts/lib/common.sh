# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts: where things are, and how to build quietly. To be sourced by bash.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

# Steps are shown with the time since the script's start (m:ss): an end by the clock then tells
# where the time went.
say() { printf '== %d:%02d %s\n' "$((SECONDS / 60))" "$((SECONDS % 60))" "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# build_into DIRECTORY TARGET [cmake options]: configures and builds; the log is shown only when
# something fails.
build_into() {
  local build="$1" target="$2"
  shift 2
  local log="$build/build.log"
  mkdir -p "$build"
  say "building in ${build#"$root"/}"
  if ! { cmake -S "$root" -B "$build" -G "Unix Makefiles" "$@" &&
    cmake --build "$build" --target "$target" -j "$(nproc)"; } >"$log" 2>&1; then
    grep -E 'error|Error|\*\*\*' "$log" | head -40 >&2 || true
    die "the build failed; all of it: $log"
  fi
}

passed=0
failed=0

# No test takes longer, unless it says so itself; one that hangs must not take the others with it.
test_timeout_s=400

# count_ctest DIRECTORY [ctest options]: runs tests and adds to `passed` and `failed`. Skipped tests are named and count as neither.
count_ctest() {
  local build="$1"
  shift
  local log="$build/ctest.log"
  say "testing in ${build#"$root"/}"
  ctest --test-dir "$build" --timeout "$test_timeout_s" --output-on-failure -j "$(nproc)" "$@" 2>&1 |
    tee "$log" || true
  local summary total bad skipped
  summary="$(grep -E '^[0-9]+% tests passed, [0-9]+ tests? failed out of [0-9]+' "$log" || true)"
  if [ -z "$summary" ]; then
    failed=$((failed + 1))
    printf 'ctest ended without a summary\n'
    return
  fi
  bad="$(sed -E 's/.*passed, ([0-9]+) tests? failed.*/\1/' <<<"$summary")"
  total="$(sed -E 's/.*out of ([0-9]+).*/\1/' <<<"$summary")"
  skipped="$(grep -cE '^[[:space:]]*[0-9]+ - .* \(Skipped\)$' "$log" || true)"
  [ "$skipped" -eq 0 ] || say "$skipped tests were SKIPPED, see above"
  failed=$((failed + bad))
  passed=$((passed + total - bad - skipped))
}

# count_command NAME COMMAND...: runs one command as one test.
count_command() {
  local name="$1"
  shift
  say "$name"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$name"
  fi
}

# Prints the plain last line and gives the exit status.
finish_counting() {
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
