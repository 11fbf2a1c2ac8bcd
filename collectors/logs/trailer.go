package logs

import (
	"bytes"
	"io"

	"irkit.dev/irkit/evidence"
)

// current is a log as it streams.
type current struct{ io.Reader }

// Trailer says what the kubelet's answer leaves out: it serves the newest file only
// (k8s.io/cri-client, logs.go); rotated ones stay on the node.
func (current) Trailer() evidence.Trailer {
	return evidence.Trailer{Size: -1, Notes: []string{"as the kubelet serves it: files that it has rotated away are not in it"}}
}

// refusal is what the kubelet says in a log's place, with status 200: a line without
// the time that every line of a log begins with.
func refusal(first []byte) (string, bool) {
	line, _, _ := bytes.Cut(first, []byte("\n"))
	for _, said := range []string{"unable to retrieve container logs for ", "failed to try resolving symlinks in path "} {
		if bytes.HasPrefix(line, []byte(said)) {
			return string(line), true
		}
	}
	return "", false
}
