#!/usr/bin/env bash
# `make bench`: side by side with peers, on the lab, in the same run. What was measured
# stands in docs/bench.md.
#
#   BENCH_RUNS=5   runs of each way
set -euo pipefail
cd "$(dirname "$0")/.."

lab=${LAB:?set by make: the program of the lab}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
run_lab() { IRKIT_LAB_SOURCE=$PWD/lab "$lab" "$@"; }

make lab-program >&2
run_lab up >&2
KUBECONFIG=$(run_lab kubeconfig)
export KUBECONFIG IRKIT_LAB_SOURCE=$PWD/lab
go build -trimpath -o "$scratch/apply" ./bench/apply
go build -trimpath -o "$scratch/contain" ./bench/contain
bin/irkit agent image -f "$scratch/agent.tar" --ref lab.local/irkit-agent:bench >&2
run_lab load "$scratch/agent.tar" >&2
"$scratch/apply" deploy/irkit-system.yaml >&2
run_lab scene reset >&2
HOME=$scratch XDG_STATE_HOME=$scratch/state XDG_CONFIG_HOME=$scratch/config \
	"$scratch/contain" -irkit bin/irkit -image lab.local/irkit-agent:bench -lab "$lab" -runs "${BENCH_RUNS:-5}"
