#!/usr/bin/env bash
# How long all that fades first takes to read, of a target of 200 processes, once the agent
# runs: aim, less than a second. Needs root and no cluster.
set -euo pipefail
cd "$(dirname "$0")/.."

go test -run '^$' -bench '^BenchmarkVolatile$' -benchtime "${BENCH_RUNS:-5}x" ./collectors/inside
