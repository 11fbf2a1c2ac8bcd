#!/usr/bin/env bash
# `make demo`: a pod with an intruder in it is contained, and what was sealed is
# verified with programs that every machine has.
#
#   CLUSTER=lab      (default) a one-node cluster that it builds and starts here; needs root
#   CLUSTER=current  your own kubeconfig; asks before it does anything
#   CNI=bridge       a lab whose network ignores NetworkPolicy
#   DEMO_IMAGE=REF   CLUSTER=current: the image of suspect and hand, with a shell
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=${CLUSTER:-lab}
state=${XDG_STATE_HOME:-$HOME/.local/state}/irkit-demo
lab=${LAB:?set by make: the program of the lab}
irkit=$PWD/bin/irkit
apply=$state/apply
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { printf '\n== %s\n' "$*"; }
die() {
	printf 'demo: %s\n' "$1" >&2
	[ $# -lt 2 ] || printf 'demo: hint: %s\n' "$2" >&2
	exit 1
}
run_lab() { IRKIT_LAB_SOURCE=$PWD/lab "$lab" "$@"; }

command -v go >/dev/null || die 'no go command in PATH' 'Go 1.26: export PATH=/usr/local/go/bin:$PATH'

announce() {
	case $cluster in
	lab) cat <<-TEXT
		This demonstration
		  1. builds irkit with its agent                                    cold: 3 minutes
		  2. builds and starts a Kubernetes of one node, in network
		     namespaces of its own, with Debian's packages as it needs      cold: about 20 minutes, warm: 1
		  3. contains the pod web-0 in namespace prod: a web service with
		     an intruder in it                                              about 2 minutes
		  4. verifies the sealed bundle with sha256sum and ssh-keygen, then with irkit
		It keeps bundle and signing key in $state,
		compiled parts in the user's cache, and leaves the cluster running.
	TEXT
	;;
	current) cat <<-TEXT
		This demonstration acts on YOUR cluster: $(where)
		  1. creates namespace irkit-system with a quota and an account (deploy/irkit-system.yaml)
		  2. creates namespace irkit-demo with a pod web-0 of image $image,
		     which serves an empty folder and runs a deleted copy of sleep: harmless
		  3. contains that pod: an ephemeral container of the same image in it, a quarantine
		     label and a NetworkPolicy in irkit-demo, a probe pod in irkit-system for the
		     measurement; no node is cordoned
		  4. verifies the sealed bundle with sha256sum and ssh-keygen, then with irkit
		It keeps bundle and signing key in $state.
	TEXT
	;;
	esac
}

where() { "$apply" -where; }

prepare_tools() { # what verifies must be there before anything is done
	local tool missing=()
	for tool in sha256sum:coreutils ssh-keygen:openssh-client; do
		command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "missing: ${missing[*]}" 'install them and run again'
	say "install ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get -q update && apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$scratch/apt.log" 2>&1 ||
		{ tail -n 10 "$scratch/apt.log" >&2; die "apt-get did not install ${missing[*]}"; }
}

build() {
	say 'build irkit'
	make --no-print-directory build
	go build -trimpath -o "$apply" ./bench/apply
}

start_lab() {
	local before=down
	make --no-print-directory lab-program
	! run_lab status >/dev/null 2>&1 || before=up
	say 'start the lab'
	run_lab up
	KUBECONFIG=$(run_lab kubeconfig)
	export KUBECONFIG
	if [ "$before" = up ]; then
		# A scene with a contained pod in it never gets ready.
		say 'put the scene back'
		take_back prod
		run_lab scene reset
	else
		run_lab scene
	fi
	"$apply" deploy/irkit-system.yaml
	"$irkit" agent image -f "$scratch/agent.tar" --ref lab.local/irkit-agent:demo >/dev/null
	run_lab load "$scratch/agent.tar" >/dev/null
}

# take_back NAMESPACE: what an earlier demonstration left contained. There may be nothing.
take_back() {
	! compgen -G "$state/cases/*" >/dev/null ||
		"$irkit" release web-0 -n "$1" --delete-pod --yes --home "$state" --key "$key" ||
		echo 'no earlier demonstration to take back; going on'
}

suspect() {
	cat <<-YAML
		apiVersion: v1
		kind: Namespace
		metadata: {name: irkit-demo}
		---
		apiVersion: v1
		kind: Pod
		metadata: {name: web-0, namespace: irkit-demo, labels: {app: web}}
		spec:
		  automountServiceAccountToken: false
		  terminationGracePeriodSeconds: 1
		  containers:
		  - name: web
		    image: $image
		    env: [{name: DB_PASSWORD, value: not-a-real-password}]
		    ports: [{containerPort: 8080}]
		    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
		    command: [sh, -c]
		    args:
		    - |
		      cp /bin/sleep /tmp/sleep && /tmp/sleep 1000000 & sleep 1; rm -f /tmp/sleep
		      echo '* * * * * /tmp/sleep' > /tmp/crontab
		      exec httpd -f -p 8080 -h /tmp
	YAML
}

start_current() {
	if [ "${DEMO_YES:-}" != 1 ]; then
		[ -t 0 ] || die 'nobody to ask, nothing was changed' 'DEMO_YES=1 answers yes'
		read -rp 'Go on? [y/N] ' answer
		[ "$answer" = y ] || [ "$answer" = yes ] || die 'not confirmed, nothing was changed'
	fi
	say 'create the suspect'
	take_back irkit-demo
	suspect >"$scratch/suspect.yaml"
	"$apply" -ready irkit-demo/web-0 deploy/irkit-system.yaml "$scratch/suspect.yaml"
}

contain() { # contain NAMESPACE FLAGS...: prints what irkit prints; $bundle, $status
	local namespace=$1
	shift
	say "irkit contain web-0 -n $namespace $*"
	status=0
	"$irkit" contain web-0 -n "$namespace" --case "demo-$(date -u +%Y%m%d-%H%M%S)" --home "$state" --key "$key" \
		--purpose demonstration --yes "$@" >"$scratch/said" || status=$?
	cat "$scratch/said"
	bundle=$(sed -n 's/^bundle  *//p' "$scratch/said")
	[ -d "$bundle" ] || die "irkit contain ended with $status and no bundle"
}

check() {
	say 'verify with sha256sum'
	(cd "$bundle" && for list in tagmanifest-sha256.txt manifest-sha256.txt; do
		sha256sum --quiet -c "$list" && printf '%s: %d files are as they were sealed\n' "$list" "$(wc -l <"$list")"
	done)

	say 'verify with the program in VERIFY.txt (sh, sha256sum, ssh-keygen)'
	# Who signs is told by another way than the bundle: here by the key's own file.
	printf 'demo@%s namespaces="irkit-evidence@v1" %s\n' "$(uname -n)" "$(cut -d' ' -f1,2 "$key.pub")" >"$state/allowed_signers"
	sed -n '/^# begin irkit-verify/,/^# end irkit-verify/p' "$bundle/VERIFY.txt" >"$scratch/verify.sh"
	[ -s "$scratch/verify.sh" ] || die 'VERIFY.txt holds no program'
	sh "$scratch/verify.sh" "$bundle" "$state/allowed_signers"

	say 'verify with irkit'
	"$irkit" verify "$bundle" --signers "$state/allowed_signers"
}

close_up() {
	say 'done'
	printf 'bundle   %s\n' "$bundle"
	printf 'report   %s\n' "$bundle/report/report.en.html"
	local flags="-n $1 --home $state --key $key $2"
	printf '\nTake it back:\n  %s%s release web-0 --to-service %s\n' "${3:+KUBECONFIG=$3 }" "$irkit" "$flags"
	if [ "$cluster" = lab ]; then
		printf 'Take the lab down:\n  make -C %s lab-down\n' "$PWD"
	else
		printf 'Then delete what the demonstration made:\n  %s -delete irkit-demo; %s -delete irkit-system\n' "$apply" "$apply"
	fi
}

mkdir -p "$state"
chmod 700 "$state"
key=$state/id_ed25519
image=${DEMO_IMAGE:-busybox:1.37}
case $cluster in
lab)
	[ "$(id -u)" = 0 ] || die 'the lab needs root: it makes namespaces, mounts and cgroups' 'sudo make demo, or make demo CLUSTER=current'
	announce
	prepare_tools
	build
	start_lab
	contain prod --image lab.local/irkit-agent:demo --pull Never
	check
	close_up prod '--image lab.local/irkit-agent:demo --pull Never' "$KUBECONFIG"
	;;
current)
	prepare_tools
	build
	announce
	start_current
	contain irkit-demo --debug-image "$image" --skip cordon
	check
	close_up irkit-demo "--debug-image $image" "${KUBECONFIG:-}"
	;;
*) die "CLUSTER=$cluster: want lab or current" ;;
esac
[ "$status" = 0 ] || die "the bundle is whole, but irkit contain ended with exit status $status" 'its last lines above say why; 5: not proven contained'
