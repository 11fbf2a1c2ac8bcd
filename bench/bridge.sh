#!/usr/bin/env bash
# The last part of `make e2e`: the main job once more, on a cluster whose network
# ignores NetworkPolicy, and a pod with IPv4 and IPv6, which that cluster alone has. The lab
# is down afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."

lab=${LAB:?set by make: the program of the lab}
run_lab() { IRKIT_LAB_SOURCE=$PWD/lab "$lab" "$@"; }

run_lab down >&2
trap 'run_lab down >&2' EXIT
CNI=bridge E2E_RUN='^(TestContain|TestDualStack)$' bench/e2e.sh
