#!/usr/bin/env bash
# Every fuzz target of every module, one after the other, for FUZZTIME each (10s).
# A target that fails leaves its input in testdata/fuzz, to be committed with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${FUZZTIME:-10s}
failed=0 ran=0
while IFS=: read -r file target; do
	dir=$(dirname "$file")
	printf 'fuzz: %s %s for %s\n' "$dir" "$target" "$time"
	ran=$((ran + 1))
	(cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" .) || failed=$((failed + 1))
done < <(git ls-files --cached --others --exclude-standard -- '*_test.go' |
	xargs grep -oHE '^func Fuzz[A-Za-z0-9_]+' | sed -E 's/:func /:/' | sort)

[ "$ran" -gt 0 ] || { echo 'fuzz: no target was found' >&2; exit 1; }
printf 'fuzz: %d targets, %d failed\n' "$ran" "$failed"
[ "$failed" = 0 ]
