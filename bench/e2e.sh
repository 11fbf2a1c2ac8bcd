#!/usr/bin/env bash
# `make e2e`: the suite on a real cluster, as a responder with no more rights than
# `irkit rbac` prints. Starts the lab when it is down and leaves it up.
#
#   E2E_RUN=REGEXP   only these tests
#   CNI=bridge       on a cluster whose network ignores NetworkPolicy
#   TESTFLAGS=-json  for the runner
set -euo pipefail
cd "$(dirname "$0")/.."

lab=${LAB:?set by make: the program of the lab}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
run_lab() { IRKIT_LAB_SOURCE=$PWD/lab "$lab" "$@"; }

make lab-program >&2
run_lab up >&2
KUBECONFIG=$(run_lab kubeconfig)
export KUBECONFIG
go build -trimpath -o "$scratch/apply" ./bench/apply

# Our image on the node, irkit's namespace, and the rights of the responder.
bin/irkit agent image -f "$scratch/agent.tar" --ref lab.local/irkit-agent:e2e >&2
run_lab load "$scratch/agent.tar" >&2
"$scratch/apply" deploy/irkit-system.yaml >&2
# Each test that needs the scene sets it anew, whatever the one before left of it.
echo '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"e2e"}}' | "$scratch/apply" lab/scene/00-namespaces.yaml - >&2
for namespace in prod edge-ns e2e; do
	bin/irkit rbac -n "$namespace" --user responder >"$scratch/rbac-$namespace.yaml"
done
"$scratch/apply" "$scratch/rbac-e2e.yaml" >&2
export IRKIT_E2E_APPLY=$scratch/apply IRKIT_E2E_RIGHTS="$scratch/rbac-prod.yaml $scratch/rbac-edge-ns.yaml"

export IRKIT_LAB_PROGRAM=$lab IRKIT_LAB_SOURCE=$PWD/lab IRKIT_BIN=$PWD/bin/irkit
export IRKIT_E2E_IMAGE=lab.local/irkit-agent:e2e
# shellcheck disable=SC2086
go test -tags e2e -count=1 -timeout 40m -v ${TESTFLAGS:-} ${E2E_RUN:+-run "$E2E_RUN"} ./cmd/irkit/e2e/
