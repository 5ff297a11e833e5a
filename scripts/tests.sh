#!/bin/sh
# Runs the tests on real VMs and all the others side by side: the former wait for emulated guests much of the time.
#
# usage: scripts/tests.sh PYTEST
set -u
pytest="$1"
log="$(mktemp)"
trap 'kill "$others" 2>/dev/null; rm -f "$log"' EXIT
trap 'exit 130' INT TERM

"$pytest" tests/unit tests/bench tests/contract tests/integration >"$log" 2>&1 &
others=$!
"$pytest" tests/e2e tests/languages
vms=$?
wait "$others"
rest=$?
echo
echo "the tests without VMs:"
cat "$log"
test "$vms" -eq 0 && test "$rest" -eq 0
