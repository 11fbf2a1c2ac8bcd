#!/usr/bin/env bash
# What is too heavy for CI: the tests that ask for IRKIT_SOAK, in full size, then
# the whole end-to-end suite in the same mode. SOAK_TIMEOUT bounds each (4h).
set -euo pipefail
cd "$(dirname "$0")/.."

export IRKIT_SOAK=1 IRKIT_SOAK_FILES=${IRKIT_SOAK_FILES:-1000000}
timeout=${SOAK_TIMEOUT:-4h}

# e2e has a suite of its own, below.
mapfile -t packages < <(git ls-files --cached --others --exclude-standard -- '*_test.go' |
	xargs grep -lE '\bIRKIT_SOAK' | xargs -r grep -LE '^//go:build .*\be2e\b' | xargs -rn1 dirname | sort -u | sed 's#^#./#')

failed=0
if [ ${#packages[@]} -gt 0 ]; then
	printf 'soak: %s\n' "${packages[@]}"
	go test -count=1 -timeout "$timeout" -v "${packages[@]}" || failed=1
fi
echo 'soak: the end-to-end suite'
TESTFLAGS="${TESTFLAGS:-} -timeout=$timeout" bench/e2e.sh || failed=1
exit $failed
