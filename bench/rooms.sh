#!/usr/bin/env bash
# What single rooms prove on the lab: hands and layers against a real API server,
# the S3 store against a real server with Object Lock. Part of `make e2e`.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -z "${E2E_RUN:-}" ] || { echo "rooms: not run, only $E2E_RUN was asked for" >&2; exit 0; }
lab=${LAB:?set by make: the program of the lab}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
run_lab() { IRKIT_LAB_SOURCE=$PWD/lab "$lab" "$@"; }

run_lab status >/dev/null || { echo 'rooms: the lab is not up (make lab-up)' >&2; exit 1; }
run_lab scene reset >&2 # pods of ours need a node that nobody left cordoned
bin/irkit agent image -f "$scratch/agent.tar" --ref lab.local/irkit-agent:rooms >&2
run_lab load "$scratch/agent.tar" >&2
eval "$(run_lab env)"
export IRKIT_LAB_KUBECONFIG=$KUBECONFIG IRKIT_LAB_AGENT_IMAGE=lab.local/irkit-agent:rooms
export IRKIT_TEST_S3_ENDPOINT=$IRKIT_S3_ENDPOINT IRKIT_TEST_S3_CA=$IRKIT_S3_CA IRKIT_TEST_S3_BUCKET=evidence \
	IRKIT_TEST_S3_ACCESS_KEY=$AWS_ACCESS_KEY_ID IRKIT_TEST_S3_SECRET_KEY=$AWS_SECRET_ACCESS_KEY
unset KUBECONFIG

mapfile -t packages < <(git ls-files --cached --others --exclude-standard -- '*_test.go' |
	xargs grep -lE 'IRKIT_LAB_KUBECONFIG|IRKIT_TEST_S3' | xargs -n1 dirname | sort -u | sed 's#^#./#')
# shellcheck disable=SC2086
go test -count=1 -timeout 15m ${TESTFLAGS:-} -run 'Lab|TestServer' "${packages[@]}"
