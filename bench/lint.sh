#!/usr/bin/env bash
# Walls, style, licences and known vulnerabilities, in every module of the checkout.
# `make lint` calls it; LICENCES=table prints what every linked module is under.
set -euo pipefail
cd "$(dirname "$0")/.."

golangci=${GOLANGCI:?set by make: the pinned golangci-lint}
govulncheck=${GOVULNCHECK:?set by make: the pinned govulncheck}

# As make build compiles, so that neither compiles for itself alone.
export CGO_ENABLED=0 GOWORK=off GOFLAGS="${GOFLAGS:-} -trimpath"

faults=0
say() { printf 'lint: %s\n' "$*"; }
check() { # check NAME COMMAND...: goes on after a fault, so that one run shows them all
	local name=$1 began=$SECONDS
	shift
	if "$@"; then
		say "$name: clean ($((SECONDS - began)) s)"
	else
		say "$name: FAULTS"
		faults=$((faults + 1))
	fi
}

# Folders with a go.mod, the top one first.
modules() { git ls-files --cached --others --exclude-standard -- go.mod '*/go.mod' | xargs -n1 dirname | sort; }
files() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [ ! -f "$f" ] || printf '%s\n' "$f"; done; }

formatted() {
	local wrong
	wrong=$(files '*.go' | xargs gofmt -l)
	[ -z "$wrong" ] || { printf 'gofmt would change:\n%s\n' "$wrong"; return 1; }
}

merged() {
	! git grep -nE '^(<{7}|>{7}) ' -- . ':!*.patch'
}

has_code() { [ -n "$(files "$1/*.go")" ]; }

# The modules that link all of Kubernetes or a DNS server hold one short main each:
# compiling their world only to vet that takes ten minutes.
heavy() { case $1 in lab/kubernetes | lab/coredns) true ;; *) false ;; esac; }
compiled() { (cd "$1" && [ "$(go build -n -o /dev/null . 2>&1 | grep -c '/compile ')" -lt 20 ]); }

linted() { (cd "$1" && "$golangci" run --config "$OLDPWD/.golangci.yml" --allow-parallel-runners ./...); }
vetted() { (cd "$1" && go vet ./...); }
tidy() { (cd "$1" && go mod tidy -diff); }

scripts() {
	files '*.sh' '.ci/run' | xargs -n1 bash -n
}

# What has no first line of its own (the program in VERIFY.txt) is for any POSIX shell.
shellchecked() {
	local f bad=0
	while read -r f; do
		if head -n 1 "$f" | grep -q '^#!'; then
			shellcheck -S warning "$f" || bad=1
		else
			shellcheck -S warning -s sh "$f" || bad=1
		fi
	done < <(files '*.sh' '.ci/run')
	return $bad
}

licences() {
	local table=()
	[ "${LICENCES:-}" != table ] || table=(-table)
	(cd lab/licences && go run . -C ../.. "${table[@]}" ./cmd/irkit ./cmd/irkit-agent)
}

check gofmt formatted
check 'no marks of a merge' merged
while read -r m; do
	if ! has_code "$m"; then
		continue # a pinned version of a program, nothing of ours
	elif ! heavy "$m"; then
		check "golangci-lint in $m" linted "$m"
		check "go mod tidy in $m" tidy "$m"
	elif compiled "$m"; then
		check "go vet in $m" vetted "$m"
	else
		say "go vet in $m: not checked, its parts are not compiled here yet (make lab-build)"
	fi
done < <(modules)
check 'shell syntax' scripts
if command -v shellcheck >/dev/null; then
	check shellcheck shellchecked
else
	say 'shellcheck: not checked, it is not installed'
fi
check licences licences

# The database is elsewhere, or where GOVULNDB says (file:///… for a copy).
database=()
[ -z "${GOVULNDB:-}" ] || database=(-db "$GOVULNDB")
if timeout 20 "$govulncheck" "${database[@]}" -version 2>/dev/null | grep -q '^DB updated'; then
	check 'known vulnerabilities' "$govulncheck" "${database[@]}" ./...
else
	say 'known vulnerabilities: not checked, the database does not answer (GOVULNDB names another)'
fi

[ "$faults" = 0 ] || { say "$faults checks found faults"; exit 1; }
say 'no faults'
