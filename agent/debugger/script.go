package debugger

import (
	"slices"
	"strings"
)

// A debug image is only asked for sh, cat, chmod and a folder to write in; sleep is
// used where it is there. Nothing of the target's image is ever run.

// folders are where the binary may be written: /irkit is the probe pod's own volume.
const folders = `/irkit "" /tmp /var/tmp /run`

// notThere is the exit status of the relay's script when the binary has not come.
const notThere = 79

// waitScript is the main process until the binary is there; it gives up after a
// while, so that a hand whose irkit died does not stay. The marker is written last, and
// holds the binary's path.
const waitScript = `n=0; max=50000000
while [ $n -lt $max ]; do
  for d in ` + folders + `; do
    if [ -s "$d/.irkit-agent" ]; then read -r p < "$d/.irkit-agent"; exec "$p" "$@"; fi
  done
  n=$((n+1))
  if sleep 0.1 2>/dev/null || sleep 1 2>/dev/null; then max=3000; fi
done
echo "irkit-agent: no binary came" >&2; exit 1`

// streamScript takes the binary from its input: $1 is its digest, $2 a name that no
// other try uses. cat ends alike when the stream is cut; that the binary knows its own
// digest is what counts, and only then it is made visible.
const streamScript = `for d in ` + folders + `; do
  if [ -s "$d/.irkit-agent" ]; then echo there; exit 0; fi
done
for d in ` + folders + `; do
  f="$d/.irkit-agent-$2"
  if (: > "$f") 2>/dev/null; then
    cat > "$f" && chmod 755 "$f" && "$f" version --expect "$1" && echo "$f" > "$d/.irkit-agent"
    exit $?
  fi
done
echo "irkit-agent: no folder can be written" >&2; exit 1`

const attachScript = `for d in ` + folders + `; do
  if [ -s "$d/.irkit-agent" ]; then read -r p < "$d/.irkit-agent"; exec "$p" "$@"; fi
done
exit 79` // notThere

// workCommand is the container's main process.
func (h Host) workCommand(args []string) []string {
	if h.Image != "" {
		return append([]string{agentPath, "work"}, args...)
	}
	return append([]string{"sh", "-c", waitScript, "irkit-agent", "work"}, args...)
}

// streamed reports a container whose binary comes through exec, by its command.
func streamed(command []string) bool { return len(command) > 0 && command[0] == "sh" }

// attachCommand is the relay's, in a container with that main process.
func attachCommand(main []string, key string) []string {
	if streamed(main) {
		return []string{"sh", "-c", attachScript, "irkit-agent", "attach", "--key", key}
	}
	return []string{agentPath, "attach", "--key", key}
}

// keyOf is the public key that a worker was started for; empty when it is no worker.
func keyOf(command []string) string {
	i := slices.Index(command, "--key")
	if i < 0 || i+1 == len(command) || !slices.ContainsFunc(command, func(s string) bool { return strings.HasSuffix(s, "irkit-agent") }) {
		return ""
	}
	return command[i+1]
}
