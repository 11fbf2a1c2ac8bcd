#!/bin/bash
# Proves that the lab leaves nothing behind: after down, after a kill -9 in the
# middle of up or of down, and that up works after any of these. Takes the lab
# down; `make lab-check` calls it. LAB is the lab program.
set -euo pipefail
: "${LAB:?the lab program; call this by make lab-check}"

# What a machine looks like from outside, in words that do not change by themselves.
look() {
	sort /proc/self/mounts
	ip -o link | awk '{print "link", $2}'
	ls /run/netns /sys/fs/bpf /run /var/lib /var/log /etc/cni /opt/cni /opt 2>/dev/null || true
	iptables-save 2>/dev/null | grep -v '^#' || true
	nft list ruleset 2>/dev/null || true
	for s in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
		kernel/unprivileged_bpf_disabled kernel/timer_migration net/ipv4/ip_forward; do
		echo "$s $(cat /proc/sys/$s)"
	done
}

clean() { # WHEN
	if ! "$LAB" traces; then
		echo "lab-check: not clean: $1" >&2
		exit 1
	fi
	if ! diff "$before" <(look); then
		echo "lab-check: the machine changed: $1" >&2
		exit 1
	fi
	echo "lab-check: clean: $1"
}

up() { "$LAB" up 2>&1 | sed 's/^/    /'; }

before=$(mktemp)
trap 'rm -f "$before"' EXIT
"$LAB" build
"$LAB" down
look >"$before"
clean "before anything"

up
"$LAB" up
"$LAB" scene
time "$LAB" down
clean "after up, scene, down"

for moment in 0.1 0.4 0.8 1.5 3 6 10 15; do
	"$LAB" up >/dev/null 2>&1 &
	victim=$!
	sleep "$moment"
	kill -9 "$victim" 2>/dev/null || true
	wait "$victim" 2>/dev/null || true
	"$LAB" down
	clean "after a kill $moment s into up, and down"
done

"$LAB" up >/dev/null 2>&1 &
victim=$!
sleep 5
kill -9 "$victim" && wait "$victim" 2>/dev/null || true
up
for moment in 0.02 0.1 0.2 0.4; do
	"$LAB" down &
	victim=$!
	sleep "$moment"
	kill -9 "$victim" 2>/dev/null || true
	wait "$victim" 2>/dev/null || true
done
"$LAB" down
clean "after kills in the middle of down, and down"

up
"$LAB" status
echo "lab-check: all clean; the lab is up again"
